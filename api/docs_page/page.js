SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  // Off: the badge would ask another host whether the description is valid.
  validatorUrl: null,
});

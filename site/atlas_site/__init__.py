"""The static site: a page for every unit, image, concept and layer."""

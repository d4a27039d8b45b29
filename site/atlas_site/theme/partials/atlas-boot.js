{#- Before the first paint: how heatmaps are drawn, as the reader last chose it. -#}
try{let c=JSON.parse(localStorage.getItem("neuron-atlas")||"{}"),r=document.documentElement;/^(light|mask|outline|none)$/.test(c.form)&&(r.dataset.form=c.form);c.strength>=0&&c.strength<=1&&r.style.setProperty("--na-strength",c.strength)}catch(e){}

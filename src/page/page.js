(()=>{
const $=s=>document.querySelector(s),t=$('time'),o=$('#old'),f=$('#filter'),i=$('#filter input'),all=[...document.querySelectorAll('section')];
const age=()=>{const h=Math.floor((Date.now()-Date.parse(t.dateTime))/36e5);o.hidden=h<t.dataset.limit;o.textContent=t.dataset.old.replace('{}',h)};
age();setInterval(age,6e4);
if(all.length<2)return;
f.hidden=false;
i.oninput=()=>{const q=i.value.trim().toLowerCase();for(const s of all)$('nav a[href="#'+CSS.escape(s.id)+'"]').parentNode.hidden=s.hidden=!(s.id+' '+s.className).toLowerCase().includes(q)};
addEventListener('keydown',e=>{if(e.key==='/'&&e.target!==i){i.focus();e.preventDefault()}else if(e.key==='Escape'&&e.target===i){i.value='';i.oninput();i.blur()}});
})()
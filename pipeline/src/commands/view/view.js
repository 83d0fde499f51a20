// Shows the slice that a plane's slider stands at.
'use strict';
for (const figure of document.querySelectorAll('figure')) {
  const images = figure.querySelectorAll('img');
  const slider = figure.querySelector('input');
  const caption = figure.querySelector('figcaption');
  const show = () => {
    images.forEach((image, at) => { image.hidden = at !== Number(slider.value); });
    caption.textContent = images[slider.value].alt;
  };
  slider.addEventListener('input', show);
  figure.querySelector('.frame').addEventListener('wheel', (event) => {
    event.preventDefault();
    slider.value = Number(slider.value) + Math.sign(event.deltaY);
    show();
  }, { passive: false });
}

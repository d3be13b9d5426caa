'use strict';
// The page: every photo's thumbnail with what is known of it.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text) => String(text).replace(/[&<>"']/g, (found) => ESCAPES[found]);
const path = (key) => key.split('/').map(encodeURIComponent).join('/');

function figure(photo) {
  const taken = photo.taken ? `, taken ${escape(photo.taken.slice(0, 10))}` : '';
  return `<figure><img src="thumbs/${path(photo.thumbnail)}" alt="${escape(photo.name)}" loading="lazy">
<figcaption><b>${escape(photo.name)}</b><br>${photo.width} × ${photo.height}${taken}</figcaption></figure>`;
}

function page(photos) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Photos</title>
<style>
body { font: 15px system-ui, sans-serif; margin: 2rem; background: #fafaf8; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1.5rem }
figure { margin: 0 } img { width: 100%; border-radius: 6px } figcaption { color: #555 }
</style>
<h1>${photos.length} photos</h1><main>${photos.map(figure).join('\n')}</main></html>`;
}

module.exports = { page };

'use strict';
// Makes a thumbnail of each photo that the event names, with GraphicsMagick.

const { S3Client, GetObjectCommand, PutObjectCommand } = require('@aws-sdk/client-s3');
const gm = require('gm');

const s3 = new S3Client({});
const EDGE = 256;

// What gm prints for a photo: width, height and, where there is one, its EXIF date.
function describe(photo) {
  return new Promise((resolve, reject) => {
    gm(photo).identify('%w %h %[EXIF:DateTimeOriginal]', (error, text) => {
      if (error) return reject(error);
      const [width, height, ...date] = text.trim().split(' ');
      resolve({ width, height, taken: exifDate(date.join(' ')) });
    });
  });
}

// "2008:04:19 13:43:16" as ISO 8601; EXIF does not tell the time zone.
function exifDate(text) {
  const found = /^(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)/.exec(text);
  return found ? `${found[1]}-${found[2]}-${found[3]}T${found[4]}` : '';
}

function shrink(photo) {
  return new Promise((resolve, reject) => {
    gm(photo)
      .autoOrient()
      .resize(EDGE, EDGE)
      .noProfile()
      .quality(82)
      .toBuffer('JPG', (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
}

async function thumbnail(record) {
  const bucket = record.s3.bucket.name;
  const key = decodeURIComponent(record.s3.object.key.replace(/\+/g, ' '));
  const stored = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  const photo = Buffer.from(await stored.Body.transformToByteArray());
  const { width, height, taken } = await describe(photo);
  const bytes = await shrink(photo);
  const target = { Bucket: process.env.THUMBS, Key: `node/${key}` };
  // Headers are ASCII: the key is escaped.
  const Metadata = {
    photo: encodeURIComponent(key), width, height, taken,
    bytes: String(photo.length), maker: 'node',
  };
  await s3.send(new PutObjectCommand({ ...target, Body: bytes, ContentType: 'image/jpeg', Metadata }));
  console.log(`${key}: ${width}x${height}, ${photo.length} bytes -> ${target.Key}, ${bytes.length} bytes`);
  return { ...target, bytes: bytes.length };
}

exports.handler = async (event) => {
  const thumbnails = [];
  for (const record of event.Records) thumbnails.push(await thumbnail(record));
  return { thumbnails };
};

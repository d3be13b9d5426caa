// The S3 door, driven by the AWS SDK for JavaScript v3 as it comes.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const client = new S3Client({ forcePathStyle: true, maxAttempts: 1 });
const Bucket = "sdk";
const send = (command) => client.send(command);
const bytes = async (answer) => Buffer.from(await answer.Body.transformToByteArray());
const read = async (Key, more = {}) => bytes(await send(new GetObjectCommand({ Bucket, Key, ...more })));

await send(new CreateBucketCommand({ Bucket }));
const { Buckets } = await send(new ListBucketsCommand({}));
assert.ok(Buckets.some((entry) => entry.Name === Bucket));

// A buffer: checksum in a header. A stream: chunks, with the checksum in the trailer.
for (const size of [0, 1, 70_000, 2_500_000]) {
  const body = randomBytes(size);
  const put = await send(new PutObjectCommand({ Bucket, Key: "a b+ü/%.bin", Body: body, Metadata: { m: "1" } }));
  assert.equal(put.ETag, `"${createHash("md5").update(body).digest("hex")}"`);
  assert.deepEqual(await read("a b+ü/%.bin"), body);
  const stream = Readable.from(size ? [body.subarray(0, size >> 1), body.subarray(size >> 1)] : []);
  await send(new PutObjectCommand({ Bucket, Key: "stream", Body: stream, ContentLength: size }));
  assert.deepEqual(await read("stream"), body);
  const head = await send(new HeadObjectCommand({ Bucket, Key: "stream" }));
  assert.equal(head.ContentEncoding, undefined);
  assert.equal(head.ContentLength, size);
}

for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256"]) {
  const put = await send(new PutObjectCommand({ Bucket, Key: "sum", Body: "hello", ChecksumAlgorithm }));
  assert.ok(put[`Checksum${ChecksumAlgorithm}`], ChecksumAlgorithm);
}
await assert.rejects(
  send(new PutObjectCommand({ Bucket, Key: "bad", Body: "hello", ChecksumCRC32: "AAAAAA==" })),
  { name: "BadDigest" },
);

assert.equal((await read("sum", { Range: "bytes=1-3" })).toString(), "ell");
await assert.rejects(read("none"), { name: "NoSuchKey" });
await assert.rejects(send(new GetObjectCommand({ Bucket: "no-such-bucket", Key: "k" })), { name: "NoSuchBucket" });
const huge = new PutObjectCommand({ Bucket: "no-such-bucket", Key: "k", Body: Buffer.alloc(20_000_000) });
await assert.rejects(send(huge), { name: "NoSuchBucket" });
await assert.rejects(send(new HeadObjectCommand({ Bucket, Key: "none" })), { name: "NotFound" });
await send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/sum` }));
assert.equal((await read("copy")).toString(), "hello");

// lib-storage: multipart from a stream of unknown length.
const big = randomBytes(11 * 1024 * 1024);
const chunks = [big.subarray(0, 4_000_000), big.subarray(4_000_000)];
await new Upload({ client, params: { Bucket, Key: "big", Body: Readable.from(chunks) } }).done();
assert.deepEqual(await read("big"), big);

const put = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key: "signed" }), { expiresIn: 60 });
assert.equal((await fetch(put, { method: "PUT", body: "by url" })).status, 200);
const get = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: "signed" }), { expiresIn: 60 });
assert.equal(await (await fetch(get)).text(), "by url");
assert.equal((await fetch(get.replace("/signed?", "/sum?"))).status, 403);

const seen = [];
for await (const page of paginateListObjectsV2({ client, pageSize: 2 }, { Bucket })) {
  seen.push(...(page.Contents ?? []).map((entry) => entry.Key));
}
assert.deepEqual(seen, ["a b+ü/%.bin", "big", "copy", "signed", "stream", "sum"]);
const grouped = await send(new ListObjectsV2Command({ Bucket, Delimiter: "/" }));
assert.deepEqual(grouped.CommonPrefixes, [{ Prefix: "a b+ü/" }]);

const Objects = seen.map((Key) => ({ Key }));
const removed = await send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
assert.equal(removed.Deleted.length, Objects.length);
await send(new DeleteBucketCommand({ Bucket }));

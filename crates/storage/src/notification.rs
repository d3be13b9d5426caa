//! Which events a change of an object raises, and their body: AWS's S3 event JSON, version 2.1
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).

//! A function without dependencies: it asks the Lambda Runtime API for events and answers them.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::TcpStream;

/// Called with every event (JSON); what it returns (JSON) is the answer.
fn handle(event: &str) -> String {
    format!(r#"{{"hello":"from FUNCTION_NAME","event":{event}}}"#)
}

fn main() -> Result<()> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(Error::other)?;
    let path = "/2018-06-01/runtime/invocation";
    loop {
        let (id, event) = request(&api, &format!("GET {path}/next"), "")?;
        println!("event {id}");
        request(&api, &format!("POST {path}/{id}/response"), &handle(&event))?;
    }
}

/// One request of HTTP; gives the event's id and the body of the answer.
fn request(api: &str, line: &str, body: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(api)?;
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: {api}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut reader = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "lambda-runtime-aws-request-id" => id = value.trim().to_owned(),
                "content-length" => length = value.trim().parse().map_err(Error::other)?,
                _ => {}
            }
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer)?;
    Ok((id, String::from_utf8(answer).map_err(Error::other)?))
}

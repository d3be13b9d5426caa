//! `rouse env`: what AWS clients and `rouse` itself need to find the server.

use crate::client::DEFAULT_URL;
use crate::data::DataFolder;
use crate::error::{Error, Result};
use crate::output;

/// Print what AWS clients need, as `export` lines
///
/// Example:
///   eval "$(rouse env)"
///   aws s3 ls
///
/// Prints AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_REGION, ROUSE_URL
/// and ROUSE_TOKEN of the server whose data folder this is. They are secrets.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Print a JSON object instead of export lines
    #[arg(long)]
    json: bool,
    /// The region that AWS clients shall name
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    region: String,
}

/// Runs the command; the server need not run.
pub(crate) fn run(options: &Options, data: &DataFolder) -> Result<()> {
    let Some(credential) = data.credential()? else {
        return Err(Error::NoServer {
            url: DEFAULT_URL.to_owned(),
            hint: format!(
                "{} has no credential yet: start a server with `rouse serve`, or name its data folder \
                 with --data",
                data.path().display()
            ),
        });
    };
    let url = data
        .server()?
        .map_or_else(|| DEFAULT_URL.to_owned(), |record| record.url);
    let variables = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", &credential.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &credential.secret_access_key),
        ("AWS_DEFAULT_REGION", &options.region),
        // The SDK for JavaScript reads only this one.
        ("AWS_REGION", &options.region),
        ("ROUSE_URL", &url),
        ("ROUSE_TOKEN", &credential.token),
    ];
    if options.json {
        let object: serde_json::Map<_, _> = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        return output::json(&object);
    }
    for (name, value) in variables {
        output::line(format_args!("export {name}={}", quote(value)))?;
    }
    Ok(())
}

/// A word for a POSIX shell: bare if nothing in it means anything, else in single quotes.
fn quote(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(bare) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_quoted_when_they_must_be() {
        assert_eq!(quote("http://127.0.0.1:4566"), "http://127.0.0.1:4566");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "[^\\x00]{0,40}") {
            let script = format!("printf %s {}", quote(&text));
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}

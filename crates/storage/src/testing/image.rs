//! Builds images as the tools of the world write them, and as they would not.

use model::Digest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Write;

/// When every file was changed last.
pub(crate) const MTIME: i64 = 1_700_000_000;

/// An entry of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Change<'a> {
    File(&'a str, &'a str, u32),
    Folder(&'a str, u32),
    Link(&'a str, &'a str),
    HardLink(&'a str, &'a str),
    /// An entry of this type.
    Other(&'a str, u8),
    /// A file with a GNU long name.
    LongName(&'a str),
}

/// A tar of changes. Names are written as they are, however bad.
pub(crate) fn layer(changes: &[Change<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for change in changes {
        match change {
            Change::File(name, content, mode) => entry(&mut tar, name, b'0', "", content, *mode),
            Change::Folder(name, mode) => entry(&mut tar, name, b'5', "", "", *mode),
            Change::Link(name, target) => entry(&mut tar, name, b'2', target, "", 0o777),
            Change::HardLink(name, target) => entry(&mut tar, name, b'1', target, "", 0o644),
            Change::Other(name, kind) => entry(&mut tar, name, *kind, "", "", 0o644),
            Change::LongName(name) => {
                entry(&mut tar, "././@LongLink", b'L', "", name, 0o644);
                entry(&mut tar, "short", b'0', "", "", 0o644);
            }
        }
    }
    tar.extend([0; 1024]);
    tar
}

fn entry(tar: &mut Vec<u8>, name: &str, kind: u8, target: &str, content: &str, mode: u32) {
    for (text, extension) in [(name, b'L'), (target, b'K')] {
        if text.len() > 100 {
            entry(tar, "././@LongLink", extension, "", text, 0o644);
        }
    }
    let mut header = tar::Header::new_gnu();
    let fields = header.as_gnu_mut().unwrap();
    for (field, text) in [(&mut fields.name, name), (&mut fields.linkname, target)] {
        let length = text.len().min(100);
        field[..length].copy_from_slice(&text.as_bytes()[..length]);
    }
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(MTIME as u64);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content.as_bytes());
    tar.resize(tar.len().next_multiple_of(512), 0);
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// An image for this machine.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    layers: Vec<Vec<u8>>,
    packed: Vec<Vec<u8>>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    digest: String,
    name: Option<String>,
}

impl Image {
    pub(crate) fn of(layers: Vec<Vec<u8>>) -> Self {
        let architecture = oci_spec::image::Arch::default().to_string();
        Self::build(layers.clone(), layers, &architecture)
    }

    fn build(layers: Vec<Vec<u8>>, packed: Vec<Vec<u8>>, architecture: &str) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {
                "Entrypoint": ["/bin/tool"], "Cmd": null, "Env": ["A=b"], "WorkingDir": "/app",
                "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "Volumes": null,
                "Labels": {"maker": "shop"},
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let described: Vec<Value> = packed
            .iter()
            .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": described,
        });
        let manifest = manifest.to_string().into_bytes();
        Self {
            digest: sha256(&manifest),
            name: Some("shop/thumb:1".to_owned()),
            layers,
            packed,
            config,
            manifest,
        }
    }

    /// The same with compressed layers.
    pub(crate) fn packed(self, pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let packed = self.layers.iter().map(|layer| pack(layer)).collect();
        let architecture = oci_spec::image::Arch::default().to_string();
        Self::build(self.layers, packed, &architecture)
    }

    pub(crate) fn nameless(&self) -> Self {
        Self {
            name: None,
            ..self.clone()
        }
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    pub(crate) fn config(&self) -> &[u8] {
        &self.config
    }

    fn manifest_descriptor(&self) -> Value {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut described = descriptor(kind, &self.manifest);
        if let Some(name) = &self.name {
            described["annotations"] = json!({
                "io.containerd.image.name": format!("docker.io/{name}"),
                "org.opencontainers.image.ref.name": "1",
            });
        }
        described
    }

    fn layout(&self, manifests: Value) -> Vec<(String, Vec<u8>)> {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        let mut files = vec![
            (
                "oci-layout".to_owned(),
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
            ("index.json".to_owned(), index.to_string().into_bytes()),
        ];
        for blob in self.packed.iter().chain([&self.config, &self.manifest]) {
            files.push(blob_file(blob));
        }
        files
    }

    /// As skopeo and buildah write it.
    pub(crate) fn oci(&self) -> Vec<u8> {
        archive(self.layout(json!([self.manifest_descriptor()])))
    }

    /// As docker before version 25 saves it: a layer that equals an earlier one is a link to it.
    pub(crate) fn docker_save(&self) -> Vec<u8> {
        let config = format!("{}.json", hex::encode(Sha256::digest(&self.config)));
        let mut files = vec![(config.clone(), self.config.clone())];
        let (mut paths, mut links) = (Vec::new(), Vec::new());
        for (number, layer) in self.layers.iter().enumerate() {
            files.push((format!("{number}/VERSION"), b"1.0".to_vec()));
            let path = format!("{number}/layer.tar");
            match self.layers.iter().position(|earlier| earlier == layer) {
                Some(earlier) if earlier < number => {
                    links.push((path.clone(), format!("../{earlier}/layer.tar")));
                }
                _ => files.push((path.clone(), layer.clone())),
            }
            paths.push(path);
        }
        files.push(self.docker_manifest(&config, &paths));
        let mut tar = archive(files);
        tar.truncate(tar.len() - 1024);
        let links: Vec<Change<'_>> = links
            .iter()
            .map(|(path, target)| Change::Link(path, target))
            .collect();
        tar.extend(self::layer(&links));
        tar
    }

    /// As docker saves it since version 25: both an OCI layout and a `manifest.json`.
    pub(crate) fn docker_save_25(&self) -> Vec<u8> {
        let nameless = self.nameless();
        let mut files = nameless.layout(json!([nameless.manifest_descriptor()]));
        let paths: Vec<String> = self.packed.iter().map(|blob| blob_file(blob).0).collect();
        files.push(self.docker_manifest(&blob_file(&self.config).0, &paths));
        archive(files)
    }

    fn docker_manifest(&self, config: &str, layers: &[String]) -> (String, Vec<u8>) {
        let tags: Vec<&String> = self.name.iter().collect();
        let manifest = json!([{"Config": config, "RepoTags": tags, "Layers": layers}]);
        (
            "manifest.json".to_owned(),
            manifest.to_string().into_bytes(),
        )
    }

    /// As docker buildx writes it: an index of several platforms and attestations.
    pub(crate) fn multi_platform(&self) -> Vec<u8> {
        let other = Self::build(vec![layer(&[])], vec![layer(&[])], "mips64");
        let mut foreign = descriptor(
            "application/vnd.oci.image.manifest.v1+json",
            &other.manifest,
        );
        foreign["platform"] = json!({"os": "linux", "architecture": "mips64"});
        let mut attestation = foreign.clone();
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let mut ours = descriptor("application/vnd.oci.image.manifest.v1+json", &self.manifest);
        let architecture = oci_spec::image::Arch::default().to_string();
        ours["platform"] = json!({"os": "linux", "architecture": architecture});
        let inner = json!({"schemaVersion": 2, "manifests": [attestation, foreign, ours]});
        let inner = inner.to_string().into_bytes();
        let mut described = descriptor("application/vnd.oci.image.index.v1+json", &inner);
        described["annotations"] = json!({"io.containerd.image.name": self.name});
        let mut files = self.layout(json!([described]));
        files.push(blob_file(&inner));
        archive(files)
    }

    /// With one thing that is not what its digest says.
    pub(crate) fn with_broken(&self, what: &str) -> Vec<u8> {
        if what == "diff id" {
            let other = layer(&[Change::File("other", "x", 0o644)]);
            let image = Self::build(vec![other], self.packed.clone(), "");
            let config = String::from_utf8(image.config).unwrap();
            let ours = format!("\"architecture\":\"{}\"", oci_spec::image::Arch::default());
            let config = config.replace("\"architecture\":\"\"", &ours);
            return self.with_config(config.into_bytes()).oci();
        }
        let blob = match what {
            "layer" => &self.packed[0],
            "manifest" => &self.manifest,
            _ => &self.config,
        };
        let mut files = self.layout(json!([self.manifest_descriptor()]));
        for (name, content) in &mut files {
            if *name == blob_file(blob).0 {
                content.push(b' ');
            }
        }
        archive(files)
    }

    fn with_config(&self, config: Vec<u8>) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).unwrap();
        manifest["config"] = descriptor("application/vnd.oci.image.config.v1+json", &config);
        let manifest = manifest.to_string().into_bytes();
        Self {
            digest: sha256(&manifest),
            manifest,
            config,
            ..self.clone()
        }
    }

    pub(crate) fn for_architecture(&self, architecture: &str) -> Vec<u8> {
        Self::build(self.layers.clone(), self.packed.clone(), architecture).oci()
    }
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "size": bytes.len(), "digest": sha256(bytes)})
}

fn blob_file(bytes: &[u8]) -> (String, Vec<u8>) {
    let digest: Digest = sha256(bytes).parse().unwrap();
    (format!("blobs/sha256/{}", digest.hex()), bytes.to_vec())
}

/// A tar of files; one that is named twice is written once.
fn archive(mut files: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    files.sort();
    files.dedup();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

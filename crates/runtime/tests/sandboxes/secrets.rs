//! Secrets and configs as files, and the folders of volumes: the instance's own, and nobody else's.

use crate::rig::{Rig, answer, call};
use model::{Driver, VolumeMount};
use runtime::{InstanceSpec, SecretFile};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

crate::tests!(
    files_are_the_users_and_read_only,
    each_generation_reads_its_own_and_nothing_is_left,
    a_volume_is_its_users_alone,
);

const TELL: &str = "import os
def handler(event, context):
    found = []
    for path in ('/run/secrets/key', '/etc/shop/app.conf'):
        seen = os.stat(path)
        try: open(path, 'w'); refused = None
        except OSError as error: refused = type(error).__name__
        found.append([open(path).read(), oct(seen.st_mode & 0o777), seen.st_uid == os.getuid(), refused is None])
    told = str(os.environ) + open('/proc/self/mountinfo').read()
    return {'found': found, 'told': 'uv7Zk2' in told}
";

async fn with(rig: &Rig, value: &str) -> InstanceSpec {
    let mut spec = rig.python(TELL).await;
    let file = |target: &str, mode, content: &str| SecretFile {
        target: target.to_owned(),
        mode,
        revision_id: content.to_owned(),
        content: content.as_bytes().into(),
    };
    spec.files = vec![
        file("/run/secrets/key", 0o400, value),
        file("/etc/shop/app.conf", 0o444, "blue"),
    ];
    spec
}

fn expected(value: &str) -> serde_json::Value {
    let found = json!([
        [value, "0o400", true, false],
        ["blue", "0o444", true, false]
    ]);
    json!({ "found": found, "told": false })
}

async fn files_are_the_users_and_read_only(rig: &Rig) {
    let instance = rig.start(with(rig, "uv7Zk2").await).await;
    assert_eq!(answer(&call(&instance, "{}").await), expected("uv7Zk2"));
    // The image's user is another than that of functions from folders.
    let image = crate::images::import(rig, "shop/own:1", "/runtime.sh", 0).await;
    let mut spec = crate::images::function(rig, &image).await;
    spec.files = with(rig, "uv7Zk2").await.files;
    let read = "key=$(</run/secrets/key); : >>/run/secrets/key || MODE=$key; source /runtime.sh";
    spec.entrypoint = Some(["/bin/bash", "-c", read].map(str::to_owned).to_vec());
    let instance = rig.start(spec).await;
    let told = answer(&call(&instance, "1").await);
    assert_eq!(told, json!(["uv7Zk2", "/srv", 1234, 1]));
}

async fn each_generation_reads_its_own_and_nothing_is_left(rig: &Rig) {
    let old = rig.start(with(rig, "old").await).await;
    let beside = rig.start(with(rig, "old").await).await;
    let new = rig.start(with(rig, "new").await).await;
    for (instance, value) in [(&old, "old"), (&beside, "old"), (&new, "new")] {
        assert_eq!(answer(&call(instance, "{}").await), expected(value));
    }
    for instance in [old, new] {
        instance.stop(Duration::ZERO).await;
    }
    assert_eq!(answer(&call(&beside, "{}").await), expected("old"));
    beside.stop(Duration::ZERO).await;
    let left = || std::fs::read_dir(rig.data.join("memory")).map_or(0, Iterator::count);
    while left() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_volume_is_its_users_alone(rig: &Rig) {
    let text = "import os\ndef handler(event, context):
    open('/data/file', 'w').write('x')
    return os.stat('/data').st_uid == os.getuid()\n";
    let mut spec = rig.python(text).await;
    spec.volumes = vec![VolumeMount {
        volume: "own".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
    }];
    let folder = rig.storage.ensure_volume("own").await.unwrap();
    // As an earlier version left it with Docker.
    if rig.driver == Driver::Docker {
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let instance = rig.start(spec).await;
    assert_eq!(answer(&call(&instance, "{}").await), true);
    let seen = std::fs::metadata(&folder).unwrap();
    assert_eq!(seen.mode() & 0o7777, 0o700);
    assert_ne!(seen.uid(), 0);
    let above = std::fs::metadata(folder.parent().unwrap()).unwrap();
    assert_eq!(above.mode() & 0o077, 0);
}

//! A flattened image as the root.

use crate::Case;
use crate::bench::{Bench, Spec, bind, shell, with};
use launcher::{Root, User};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[
    (
        "an_image_gets_what_it_lacks_and_is_not_changed",
        an_image_gets_what_it_lacks,
    ),
    (
        "an_images_files_belong_to_its_root",
        an_images_files_belong_to_its_root,
    ),
    (
        "an_images_links_are_followed_inside_it",
        an_images_links_are_followed_inside_it,
    ),
    (
        "an_images_users_are_looked_up",
        an_images_users_are_looked_up,
    ),
];

/// Copies a program and the libraries that it needs to the same places in `image`.
fn install(image: &Path, program: &str) {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let to = image.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
}

/// An image with a shell and `cat`, and nothing else.
fn image(bench: &Bench, script: &str) -> Spec {
    let folder = bench.data.path().join("image");
    if !folder.exists() {
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        install(&folder, "/bin/sh");
        install(&folder, "/bin/cat");
    }
    let mut spec = shell(script);
    spec.shape.root = Root::Image { folder };
    spec.shape.user = User::Ids { uid: 0, gid: 0 };
    spec
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn an_image_gets_what_it_lacks() {
    with(|bench| async move {
        let script = "cat /etc/hosts /var/task/code /proc/mounts; echo x > /tmp/x && cat /tmp/x; echo y > /y";
        let mut spec = image(&bench, script);
        let folder = bench.data.path().join("image");
        fs::create_dir(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/hosts"), "the image's own\n").unwrap();
        fs::write(folder.join("etc/motd"), "kept").unwrap();
        let before = names(&folder);
        let code = bench.data.path().join("code");
        fs::write(&code, "code\n").unwrap();
        spec.shape.binds.push(bind(&code, "/var/task/code"));
        let output = bench.run(spec).await;
        let text = &output.stdout;
        assert!(text.starts_with("127.0.0.1 localhost\n"), "{text}");
        assert!(
            text.contains("\ncode\n") && text.ends_with("x\n"),
            "{text} {}",
            output.stderr
        );
        assert!(!text.contains("the image's own"));
        assert!(
            !text.contains(&bench.data.path().display().to_string()),
            "{text}"
        );
        assert!(output.stderr.contains("Read-only"), "{}", output.stderr);
        assert_eq!(names(&folder), before);
        assert_eq!(names(&folder.join("etc")), ["hosts", "motd"]);
        let output = bench.run(image(&bench, "cat /etc/motd")).await;
        assert_eq!(output.stdout, "kept");
    });
}

fn an_images_files_belong_to_its_root() {
    with(|bench| async move {
        image(&bench, "");
        let secret = bench.data.path().join("image/secret");
        fs::write(&secret, "for root\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
        // No capability helps it: its root reads the file because it owns it.
        assert_eq!(
            bench.run(image(&bench, "cat /secret")).await.stdout,
            "for root\n"
        );
        let mut spec = image(&bench, "cat /secret");
        spec.shape.user = User::Ids { uid: 7, gid: 7 };
        assert!(bench.run(spec).await.stderr.contains("denied"));
    });
}

fn an_images_links_are_followed_inside_it() {
    with(|bench| async move {
        image(&bench, "");
        let folder = bench.data.path().join("image");
        // Absolute, as images have them: on the host this leads elsewhere.
        fs::create_dir_all(folder.join("config/etc")).unwrap();
        symlink("/config/etc", folder.join("etc")).unwrap();
        fs::create_dir_all(folder.join("run")).unwrap();
        fs::create_dir_all(folder.join("var")).unwrap();
        symlink("../../../../run", folder.join("var/run")).unwrap();
        symlink("/etc/shadow", folder.join("stolen")).unwrap();
        let code = bench.data.path().join("code");
        fs::write(&code, "code\n").unwrap();
        let mut spec = image(
            &bench,
            "cat /config/etc/hostname /run/deep/code /var/run/deep/code /stolen",
        );
        spec.shape.binds.push(bind(&code, "/var/run/deep/code"));
        let output = bench.run(spec).await;
        assert_eq!(output.stdout, "box\ncode\ncode\n", "{}", output.stderr);
        assert!(output.stderr.contains("No such file"), "{}", output.stderr);
    });
}

fn an_images_users_are_looked_up() {
    with(|bench| async move {
        image(&bench, "");
        let folder = bench.data.path().join("image/etc");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("passwd"), "web:x:101:102::/:/bin/sh\n").unwrap();
        fs::write(folder.join("group"), "logs:x:103:web\n").unwrap();
        let mut spec = image(&bench, "cat /proc/self/status");
        spec.shape.user = User::Named("web".to_owned());
        let text = bench.run(spec).await.stdout;
        assert!(
            text.contains("Uid:\t101\t101") && text.contains("Gid:\t102\t102"),
            "{text}"
        );
        assert!(text.contains("Groups:\t103 "), "{text}");
        let mut spec = image(&bench, "true");
        spec.shape.user = User::Named("nosuch".to_owned());
        let (step, reason) = bench.refusal(spec).await;
        assert!(
            step.contains("nosuch") && reason.contains("/etc/passwd"),
            "{step}: {reason}"
        );
    });
}

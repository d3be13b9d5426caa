//! The compiler of modules, as a plain process.

use super::*;
use std::io::Cursor;
use std::path::Path;

/// Compiles in all ways what stands as `NAME.py` and is told as its arguments.
const BRING: &str = "import os, py_compile, sys\n\
    modes = py_compile.PycInvalidationMode\n\
    for name, mode in [('time', modes.TIMESTAMP), ('checked', modes.CHECKED_HASH), ('unchecked', modes.UNCHECKED_HASH)]:\n\
    \x20   for name in (name, name + '_old'):\n\
    \x20       py_compile.compile(name + '.py', invalidation_mode=mode)\n\
    for name in ('checked_old.py', 'unchecked_old.py'):\n\
    \x20   open(name, 'a').write('y = 2')\n\
    os.utime('time_old.py', (1, 1))\n\
    for at, name in ((0, 'magic'), (4, 'flags')):\n\
    \x20   cached = py_compile.compile(name + '.py')\n\
    \x20   with open(cached, 'r+b') as file:\n\
    \x20       file.seek(at)\n\
    \x20       file.write(b'\\x08')\n";

async fn python(arguments: &[&str], folder: &Path) -> Vec<u8> {
    let interpreter = Host::default().interpreter(RuntimeName::Python311);
    let mut command = Command::new(interpreter.unwrap().unwrap().program);
    command.args(arguments).current_dir(folder);
    command.stderr(Stdio::inherit());
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{:?}", done.status);
    done.stdout
}

/// What is compiled of a folder, sorted, without the interpreter's tag.
async fn compiled(task: &Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let compiler = write(folder.path()).unwrap().join("compile.py");
    let arguments = ["-I", compiler.to_str().unwrap(), task.to_str().unwrap()];
    let archive = python(&arguments, folder.path()).await;
    let archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    names.sort();
    let tag = ".cpython-311.pyc";
    let plain = |name: String| name.strip_suffix(tag).unwrap().to_owned();
    names.into_iter().map(plain).collect()
}

fn modules(task: &Path, names: &[&str]) {
    for name in names {
        let path = task.join(format!("{name}.py"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x = 1\n").unwrap();
    }
}

#[tokio::test]
async fn modules_are_compiled_wherever_they_are() {
    let task = tempfile::tempdir().unwrap();
    let deep = ["d"; 40].join("/");
    modules(
        task.path(),
        &["app", "a.b", "pkg/sub/m", "ü", &format!("{deep}/m")],
    );
    let found = compiled(task.path()).await;
    let cached = [
        "__pycache__/a.b",
        "__pycache__/app",
        "__pycache__/ü",
        "pkg/sub/__pycache__/m",
    ];
    assert_eq!(found, cached);
}

#[tokio::test]
async fn what_cannot_be_compiled_or_laid_keeps_nothing_from_the_rest() {
    use std::os::unix::ffi::OsStrExt;
    let task = tempfile::tempdir().unwrap();
    let long = "l".repeat(245);
    modules(
        task.path(),
        &["app", "", "py", &long, "other", "link_target"],
    );
    let put = |name: &str, text: &[u8]| std::fs::write(task.path().join(name), text).unwrap();
    put("broken.py", b"def\n");
    put("zero.py", b"\0");
    put("latin.py", b"x = '\xff'\n");
    put("large.py", "x = 1\n".repeat(100_000).as_bytes());
    put("module.pyi", b"x: int\n");
    let odd = std::ffi::OsStr::from_bytes(b"\xff.py");
    std::fs::write(task.path().join(odd), "x = 1\n").unwrap();
    std::os::unix::fs::symlink("nowhere", task.path().join("dangling.py")).unwrap();
    // One that would be looked at beside the link.
    std::fs::create_dir(task.path().join("__pycache__")).unwrap();
    put("__pycache__/dangling.cpython-311.pyc", &[0; 16]);
    std::fs::create_dir(task.path().join("folder.py")).unwrap();
    let found = compiled(task.path()).await;
    assert_eq!(
        found,
        ["app", "link_target", "other", "py"].map(|name| format!("__pycache__/{name}"))
    );
}

#[tokio::test]
async fn bytecode_that_holds_is_left_alone() {
    let task = tempfile::tempdir().unwrap();
    let names = [
        "time",
        "time_old",
        "checked",
        "checked_old",
        "unchecked",
        "unchecked_old",
        "magic",
        "flags",
    ];
    modules(task.path(), &names);
    python(&["-c", BRING], task.path()).await;
    let found = compiled(task.path()).await;
    // Whether one that is not to be checked is still true, nobody asks.
    let stale = ["checked_old", "flags", "magic", "time_old"];
    assert_eq!(found, stale.map(|name| format!("__pycache__/{name}")));
}

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

/// Compiles in another way, told as Python, and lays what came out. Tells the status, and how many modules.
const OTHERWISE: &str = "import importlib.util, io, json, os, sys, time, types, zipfile\n\
    sys.dont_write_bytecode = True\n\
    about = importlib.util.spec_from_file_location('compiler', sys.argv[1])\n\
    compiler = importlib.util.module_from_spec(about)\n\
    about.loader.exec_module(compiler)\n\
    exec(sys.argv[3])\n\
    output = io.BytesIO()\n\
    status = compiler.main(sys.argv[2], output)\n\
    archive = zipfile.ZipFile(output)\n\
    archive.extractall(sys.argv[2])\n\
    print(json.dumps([status, len(archive.namelist())]))\n";

/// After one module the time is up.
const HURRIED: &str = "late = []\n\
    compiler.time = types.SimpleNamespace(monotonic=lambda: time.monotonic() + sum(late))\n\
    whole = compiler.Compiler.compile\n\
    def hurried(self, source):\n\
    \x20   found = whole(self, source)\n\
    \x20   late.append(1e6)\n\
    \x20   return found\n\
    compiler.Compiler.compile = hurried\n";

/// One source ends the compiler, one cannot be read, and one takes longer than any has.
const FATAL: &str = "compiler.MODULE_PATIENCE, compiler.PATIENCE = 3, 2\n\
    whole = compiler.compiled\n\
    def fatal(source):\n\
    \x20   if 'fatal' in source: os.kill(os.getpid(), 11)\n\
    \x20   if 'endless' in source: time.sleep(3600)\n\
    \x20   if 'unreadable' in source: raise OSError(5, 'it fails')\n\
    \x20   return whole(source)\n\
    compiler.compiled = fatal\n";

async fn otherwise(task: &Path, way: &str) -> (i32, usize) {
    let folder = tempfile::tempdir().unwrap();
    let compiler = write(folder.path()).unwrap().join("compile.py");
    let (compiler, task) = (compiler.to_str().unwrap(), task.to_str().unwrap());
    let told = python(&["-c", OTHERWISE, compiler, task, way], folder.path()).await;
    serde_json::from_slice(&told).unwrap()
}

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

#[tokio::test]
async fn a_compiler_whose_time_is_up_gives_what_it_has_and_the_next_goes_on() {
    let task = tempfile::tempdir().unwrap();
    modules(task.path(), &["a", "b", "c"]);
    assert_eq!(otherwise(task.path(), HURRIED).await, (75, 1));
    assert_eq!(otherwise(task.path(), "").await, (0, 2));
    assert_eq!(compiled(task.path()).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_past_the_room_is_left_out_in_all_turns() {
    let task = tempfile::tempdir().unwrap();
    modules(task.path(), &["a", "b", "c"]);
    let room = |bytes: usize| format!("compiler.MAX_COMPILED = {bytes}");
    assert_eq!(otherwise(task.path(), &room(0)).await, (0, 0));
    // With its name one takes about three hundred, and half as much when it lies there.
    assert_eq!(otherwise(task.path(), &room(400)).await, (0, 1));
    assert_eq!(otherwise(task.path(), &room(400)).await, (0, 0));
    assert_eq!(otherwise(task.path(), &room(1 << 20)).await, (0, 2));
    let small = "compiler.MAX_MODULE = 10";
    modules(task.path(), &["d"]);
    assert_eq!(otherwise(task.path(), small).await, (0, 0));
}

#[tokio::test]
async fn whatever_a_source_does_to_the_compiler_the_others_are_compiled() {
    let task = tempfile::tempdir().unwrap();
    let bad = ["a/fatal", "b/endless"];
    modules(task.path(), &bad);
    modules(task.path(), &["a/x", "a/y", "b/x", "b/y", "c"]);
    // The time is up after the one that is endless; it and the other are remembered.
    assert_eq!(otherwise(task.path(), FATAL).await.0, 75);
    assert_eq!(otherwise(task.path(), FATAL).await.0, 0);
    assert_eq!(otherwise(task.path(), FATAL).await, (0, 0));
    let laid = |folder: &str| std::fs::read_dir(task.path().join(folder)).unwrap().count();
    let all = ["a", "b", "."].map(|folder| laid(&format!("{folder}/__pycache__")));
    assert_eq!(all, [3, 3, 1]);
    // What could not be read may be another time.
    modules(task.path(), &["unreadable", "d"]);
    assert_eq!(otherwise(task.path(), FATAL).await, (75, 1));
    // As far as it goes, the interpreter takes what is laid.
    for module in bad {
        std::fs::remove_file(task.path().join(format!("{module}.py"))).unwrap();
    }
    std::fs::write(task.path().join("c.py"), "x = 2\n").unwrap();
    let told = python(&["-c", "import c; print(c.x)"], task.path()).await;
    assert_eq!(told, b"1\n");
}

#[tokio::test]
async fn a_source_that_wants_more_memory_than_there_is_keeps_nothing_from_the_rest() {
    let task = tempfile::tempdir().unwrap();
    modules(task.path(), &["a", "z"]);
    let wide = format!("x = ({})\n", "f(1,2),".repeat(60_000));
    std::fs::write(task.path().join("wide.py"), wide).unwrap();
    let small = "compiler.MEMORY = 100 << 20";
    assert_eq!(otherwise(task.path(), small).await, (0, 2));
    assert_eq!(otherwise(task.path(), "").await, (0, 1));
}

use super::*;
use crate::testing::Room;
use model::Digest;

/// Code that was never put there by the storage itself.
fn code() -> Code {
    let digest = Digest::from_hex(&"ab".repeat(32)).unwrap();
    Code::Zip { digest, size: 1 }
}

/// The code's folder, with two files of two blocks.
fn unpacked(room: &Room) -> PathBuf {
    let root = room.path("code").join("ab".repeat(32));
    std::fs::create_dir_all(root.join("lib")).unwrap();
    for name in ["app", "lib/other"] {
        std::fs::write(root.join(name), vec![1; 8192]).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    root
}

/// As if of each file only the second block were in memory.
#[expect(clippy::single_range_in_vec_init, reason = "one part")]
fn second_block(_: &File) -> io::Result<Vec<Range<u64>>> {
    Ok(vec![4096..8192])
}

#[tokio::test]
async fn what_is_remembered_is_read_in_again() {
    let room = Room::open().await;
    let root = unpacked(&room);
    let warm = async |room: &Room, most: u64| {
        let code = code();
        let warmed = room.storage.warm(&code, Guess::default(), most, || true);
        warmed.await.unwrap()
    };
    assert_eq!(warm(&room, u64::MAX).await, Warmed::default());
    let kept = room.storage.remember_warm(&code(), second_block).await;
    let both = Warmed {
        files: 2,
        bytes: 8192,
        listed: true,
    };
    assert_eq!(kept.unwrap(), both);
    assert_eq!(warm(&room, u64::MAX).await, both);
    assert_eq!(room.names("staging"), Vec::<String>::new());
    // It is there after a restart, and has bounds.
    let room = room.reopen().await;
    assert_eq!(warm(&room, 4096).await.files, 1);
    let (code, guess) = (code(), Guess::default());
    let stopped = room.storage.warm(&code, guess, u64::MAX, || false).await;
    assert_eq!(stopped.unwrap().files, 0);
    std::fs::remove_file(root.join("app")).unwrap();
    assert_eq!(warm(&room, u64::MAX).await.files, 1);
    // A damaged list is none.
    let list = room.path("code").join(format!("{}.warm", "ab".repeat(32)));
    std::fs::write(&list, "rouse-warm 1\n").unwrap();
    assert_eq!(warm(&room, u64::MAX).await, Warmed::default());
}

#[tokio::test]
async fn a_list_goes_with_its_code() {
    let room = Room::open().await;
    unpacked(&room);
    let kept = room.storage.remember_warm(&code(), second_block).await;
    kept.unwrap();
    let Code::Zip { digest, .. } = code() else {
        return;
    };
    assert_eq!(room.storage.sweep_code(&[digest]).await.unwrap(), 0);
    assert_eq!(room.names("code").len(), 2);
    room.storage.sweep_code(&[]).await.unwrap();
    assert_eq!(room.names("code"), Vec::<String>::new());
    let guess = Guess::default();
    let absent = room.storage.warm(&code(), guess, 1, || true).await;
    assert!(absent.is_err());
}

#[tokio::test]
async fn a_guess_stays_inside() {
    let room = Room::open().await;
    unpacked(&room);
    let guess = |path: &str| Guess {
        programs: vec![path.into()],
    };
    let warm = async |guess| room.storage.warm(&code(), guess, u64::MAX, || true).await;
    let warmed = warm(guess("/lib/other")).await.unwrap();
    assert_eq!(
        (warmed.files, warmed.bytes, warmed.listed),
        (1, 8192, false)
    );
    assert_eq!(warm(guess("link")).await.unwrap().files, 0);
    assert_eq!(warm(guess("../../state.db")).await.unwrap().files, 0);
}

//! Coming back from the namespaces of a sandbox or container.

use crate::kernel;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsFd as _, OwnedFd};

/// Returns to a namespace of the launcher's own. If that fails the launcher ends, and every sandbox with it: each
/// path that it looks at from then on, and each process that it makes, would be of the sandbox that it is stuck in.
pub(crate) fn go_home(own: &OwnedFd, kind: LinkNameSpaceType) {
    if let Err(error) = move_into_link_name_space(own.as_fd(), Some(kind)) {
        eprintln!("launcher: returning to its own namespace ({kind:?}) failed: {error}");
        kernel::exit_now(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::process::Command;

    const STUCK: &str = "LAUNCHER_TEST_STUCK";
    const NAME: &str = "namespaces::tests::who_cannot_return_does_not_go_on";

    /// Ends this very process, so it runs itself in another.
    #[test]
    fn who_cannot_return_does_not_go_on() {
        if std::env::var_os(STUCK).is_some() {
            let no_namespace = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            go_home(&no_namespace, LinkNameSpaceType::Mount);
            return;
        }
        let mut program = Command::new(std::env::current_exe().unwrap());
        let ended = program.args(["--exact", NAME]).env(STUCK, "1").output();
        let ended = ended.unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    }
}

//! The task that looks after one container: carries out what it is told, learns of its end, and leaves
//! nothing.

use super::engine::{is_missing, remove};
use super::made::discard;
use bollard::Docker;
use bollard::errors::Error as Refusal;
use bollard::models::ContainerState;
use bollard::query_parameters::{KillContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures::StreamExt as _;
use launcher::{Exit, Usage};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// How long Docker may be out of reach before its containers count as ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between attempts to reach it.
const RETRY: Duration = Duration::from_millis(200);
/// Between attempts to kill or remove a container.
const AGAIN: Duration = Duration::from_secs(1);
/// How long it may take to tell that a container ended for memory, after it has told of the end.
const TOLD: Duration = Duration::from_millis(1000);

/// What can be asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Freeze,
    Thaw,
    /// SIGTERM to its first process.
    Terminate,
    Kill,
}

/// What is known of a container that was started.
pub(super) struct Started {
    pub(super) docker: Docker,
    /// Docker's name for it.
    pub(super) number: String,
    /// Its first process (a pidfd), if that could be opened.
    pub(super) process: Option<OwnedFd>,
    /// Its folder on the host.
    pub(super) folder: PathBuf,
    /// Bytes that it may have.
    pub(super) memory: u64,
}

/// See the module. Ends when nothing of the container is left. Nobody there any more who could order
/// something: it is killed.
pub(super) async fn keep(
    started: Started,
    mut orders: mpsc::UnboundedReceiver<Order>,
    exit: watch::Sender<Option<Exit>>,
) {
    let Started { docker, number, .. } = &started;
    let mut killed = false;
    {
        let mut ending = pin!(ended(docker, number));
        let mut held = true;
        loop {
            let order = tokio::select! {
                biased;
                () = &mut ending => break,
                order = orders.recv(), if held => {
                    held = order.is_some();
                    order.unwrap_or(Order::Kill)
                }
                // Docker may not have taken it.
                () = sleep(AGAIN), if killed => Order::Kill,
            };
            killed |= order == Order::Kill;
            carry_out(docker, number, order).await;
        }
    }
    let how = post_mortem(&started, killed).await;
    clear(docker, number).await;
    discard(&started.folder);
    exit.send_replace(Some(how));
}

/// Removes the container, with patience.
async fn clear(docker: &Docker, number: &str) {
    let since = Instant::now();
    while let Err(error) = remove(docker, number).await {
        if since.elapsed() >= PATIENCE {
            tracing::warn!(%error, container = number, "a container is left; the next start of the server removes it");
            return;
        }
        sleep(AGAIN).await;
    }
}

async fn carry_out(docker: &Docker, number: &str, order: Order) {
    let signal = |name| KillContainerOptionsBuilder::new().signal(name).build();
    let done = match order {
        Order::Freeze => docker.pause_container(number).await,
        Order::Thaw => docker.unpause_container(number).await,
        Order::Terminate => docker.kill_container(number, Some(signal("SIGTERM"))).await,
        Order::Kill => docker.kill_container(number, Some(signal("SIGKILL"))).await,
    };
    if let Err(error) = done {
        // One that has just ended cannot be frozen or killed any more.
        tracing::debug!(%error, container = number, ?order, "a container did not take an order");
    }
}

/// Resolves when its first process has ended, or Docker could not be reached for [`PATIENCE`].
async fn ended(docker: &Docker, number: &str) {
    let mut lost: Option<Instant> = None;
    while lost.is_none_or(|since| since.elapsed() < PATIENCE) {
        let options = WaitContainerOptionsBuilder::new().condition("not-running");
        let waiting = docker.wait_container(number, Some(options.build()));
        match pin!(waiting).next().await {
            Some(Ok(_) | Err(Refusal::DockerContainerWaitError { .. })) => return,
            Some(Err(error)) if is_missing(&error) => return,
            Some(Err(error)) => tracing::debug!(%error, "waiting for the end of a container"),
            None => {}
        }
        // The wait was broken off, perhaps because Docker restarts.
        match docker.inspect_container(number, None).await {
            Ok(found) if found.state.as_ref().is_some_and(is_running) => lost = None,
            Ok(_) => return,
            Err(error) if is_missing(&error) => return,
            Err(_) => {
                lost.get_or_insert_with(Instant::now);
            }
        }
        sleep(RETRY).await;
    }
    tracing::error!(
        container = number,
        "Docker Engine cannot be reached any more"
    );
}

fn is_running(state: &ContainerState) -> bool {
    state.running == Some(true)
}

/// How it ended. `killed`: by us.
async fn post_mortem(started: &Started, killed: bool) -> Exit {
    let since = Instant::now();
    loop {
        let found = started
            .docker
            .inspect_container(&started.number, None)
            .await;
        let state = found.ok().and_then(|found| found.state).unwrap_or_default();
        let told = started.process.as_ref().and_then(launcher::status_of);
        let exit = exit(&state, told, started.memory);
        // The kernel's word that it was for memory may come after the end.
        let by_kill = exit.signal == Some(9) || exit.code == Some(137);
        let open = by_kill && !exit.out_of_memory && !killed;
        if !open || since.elapsed() > TOLD {
            return exit;
        }
        sleep(TOLD / 20).await;
    }
}

/// Docker tells a signal as 128 and its number, as a shell does; the kernel, from Linux 6.15 on, tells which of both
/// it was (`told`). Before, a program that exits with such a status by itself is taken for one that a signal killed.
fn exit(state: &ContainerState, told: Option<ExitStatus>, memory: u64) -> Exit {
    let out_of_memory = state.oom_killed == Some(true);
    let status = state.exit_code.and_then(|code| i32::try_from(code).ok());
    let (code, signal) = match status {
        // Docker's word stands if the two do not speak of the same.
        Some(status @ 129..=159) if told.and_then(|told| told.code()) != Some(status) => {
            (None, Some(status - 128))
        }
        Some(status) => (Some(status), None),
        None => (None, Some(9)),
    };
    let usage = Usage {
        // It had all that it may have when the kernel killed for memory.
        memory_peak: if out_of_memory { memory } else { 0 },
        ..Usage::default()
    };
    Exit {
        code,
        signal,
        out_of_memory,
        usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_status_is_a_code_or_a_signal() {
        let of = |exit_code, oom_killed| {
            let state = ContainerState {
                exit_code,
                oom_killed: Some(oom_killed),
                ..ContainerState::default()
            };
            exit(&state, None, 7)
        };
        assert_eq!(of(Some(3), false).describe(), "exit status 3");
        assert_eq!(of(Some(139), false).describe(), "signal 11 (SIGSEGV)");
        assert_eq!(of(Some(255), false).describe(), "exit status 255");
        assert_eq!(of(None, false).describe(), "signal 9 (SIGKILL)");
        let memory = of(Some(137), true);
        assert!(memory.out_of_memory && memory.usage.memory_peak == 7);
        let state = ContainerState {
            exit_code: Some(143),
            ..ContainerState::default()
        };
        let with = |wait_status| exit(&state, Some(ExitStatus::from_raw(wait_status)), 7);
        assert_eq!(with(143 << 8).describe(), "exit status 143");
        assert_eq!(with(15).describe(), "signal 15 (SIGTERM)");
        assert_eq!(with(3 << 8).describe(), "signal 15 (SIGTERM)");
    }
}

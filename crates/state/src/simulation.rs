//! The store in a simulated world: the same work, but on the thread of that world, in its time.

use crate::job::Job;
use crate::writer::{BATCH, Writer};

/// Waits as long as the disk takes.
pub(crate) async fn disk() {
    if let Some(takes) = model::simulation::disk()
        && !takes.is_zero()
    {
        tokio::time::sleep(takes).await;
    }
}

/// As [`Writer::serve`], as a task. Where the world ends, what was handed in and not committed is lost.
pub(crate) async fn serve(mut writer: Writer) {
    let mut taken: Vec<Job> = Vec::with_capacity(BATCH);
    loop {
        let open = writer.jobs.recv_many(&mut taken, BATCH).await > 0;
        disk().await;
        writer.work(&mut taken);
        if !open {
            break;
        }
    }
    writer.end();
}

//! Graphics processors, as `nvidia-smi` tells them.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::heartbeat::Gpu;

/// How long `nvidia-smi` may take: it wakes processors that sleep.
const PATIENCE: Duration = Duration::from_secs(5);

const MEBIBYTE: u64 = 1024 * 1024;

/// The machine's graphics processors; none if `nvidia-smi` isn't there, or has nothing to tell.
pub(crate) async fn gpus() -> Vec<Gpu> {
    let mut command = Command::new("nvidia-smi");
    command
        .args(["--query-gpu=memory.total,memory.free,name", "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().filter_map(read).collect()
        }
        _ => Vec::new(),
    }
}

/// One line: `24564, 23012, NVIDIA GeForce RTX 4090`, in MiB.
fn read(line: &str) -> Option<Gpu> {
    let mut fields = line.splitn(3, ',').map(str::trim);
    let mut memory = || fields.next()?.parse::<u64>().ok()?.checked_mul(MEBIBYTE);
    let (memory_total, memory_free) = (memory()?, memory()?);
    Some(Gpu { name: fields.next()?.to_owned(), memory_total, memory_free })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_processor_and_anything_else_is_none() {
        let read_one = read("24564, 23012, NVIDIA GeForce RTX 4090, rev. 2").unwrap();
        assert_eq!(read_one.name, "NVIDIA GeForce RTX 4090, rev. 2");
        assert_eq!(read_one.memory_total, 24_564 * MEBIBYTE);
        assert_eq!(read_one.memory_free, 23_012 * MEBIBYTE);
        for line in ["", "No devices were found", "[N/A], [N/A], Orin", "1, 2"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}

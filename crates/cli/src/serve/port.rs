//! The client port: taking it, and saying who has it if it is taken.

use crate::error::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

/// Where the server listens by default; 4566 is what the tools of the LocalStack world expect.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:4566";

/// Listens at an address. If it is taken, the error names who has it, as far as this user may know.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let holder = holder(address.port(), Path::new("/proc"));
            let holder = holder.unwrap_or_else(|| {
                "another process, perhaps another rouse or LocalStack".to_owned()
            });
            Error::Failed(format!(
                "{address} is taken by {holder}: stop it, or choose another with --listen"
            ))
        }
        std::io::ErrorKind::AddrNotAvailable => Error::Failed(format!(
            "{address} is no address of this machine: choose another with --listen"
        )),
        std::io::ErrorKind::PermissionDenied => Error::Failed(format!(
            "{address} needs privilege: choose a port above 1023 with --listen"
        )),
        _ => Error::io(format!("listening at {address}"))(error),
    })
}

/// The URL by which clients on this machine reach the address.
pub(crate) fn url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The process that listens on a port: its socket's inode from `net/tcp`, then whose descriptor that is.
fn holder(port: u16, proc: &Path) -> Option<String> {
    let inode = ["net/tcp", "net/tcp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(proc.join(table)).ok()?;
        listening_inode(&table, port)
    })?;
    let link = format!("socket:[{inode}]");
    for entry in std::fs::read_dir(proc).ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(descriptors) = std::fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let holds = descriptors
            .flatten()
            .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
            .any(|target| target.as_os_str() == link.as_str());
        if holds {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let name = crate::output::cell(name.trim(), 32);
            return Some(format!("process {pid} ({name})"));
        }
    }
    None
}

/// The inode of the socket that listens (state 0A) on a port, from the text of `/proc/net/tcp`:
/// the second column is the address, the fourth the state, the tenth the inode.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, hex) = columns.get(1)?.rsplit_once(':')?;
        let listens = columns.get(3) == Some(&"0A");
        if listens && u16::from_str_radix(hex, 16).ok()? == port {
            return columns.get(9)?.parse().ok();
        }
        None
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_holder_and_the_remedy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = bind(address).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        assert!(error.contains("--listen"), "{error}");
    }

    #[test]
    fn wildcards_are_reached_over_loopback() {
        assert_eq!(
            url("0.0.0.0:4566".parse().unwrap()),
            "http://127.0.0.1:4566"
        );
        assert_eq!(url("[::]:1".parse().unwrap()), "http://[::1]:1");
        assert_eq!(url("10.0.0.1:1".parse().unwrap()), "http://10.0.0.1:1");
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n\
            0: 0100007F:11D6 00000000:0000 01 00000000:00000000 00:00000000 00000000 0 0 11 1\n\
            1: 0100007F:11D6 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 22 1\n";
        assert_eq!(listening_inode(table, 4566), Some(22));
        assert_eq!(listening_inode(table, 80), None);
    }
}

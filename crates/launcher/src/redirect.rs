//! Our listeners out of the program's way, and the one for all that goes elsewhere.
//!
//! A program that listens on `0.0.0.0:8080` cannot, while we listen on `127.0.1.1:8080` in the same
//! network namespace for a service of that name. So for a program that listens itself, ours are on
//! ports nobody asks for, and a BPF program of the type `sk_lookup` (Linux 5.9) hands them the
//! connections that are meant for them: it looks the address up in a table of sockets. A connection
//! that is not found there and does not go to loopback goes elsewhere: the same program hands it to
//! the listener for that, if there is one. It leaves every other connection alone.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const PROGRAM_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;

const MAP_TYPE_SOCKHASH: u32 = 18;
const PROGRAM_TYPE_SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;

/// Offsets in `struct bpf_sk_lookup`.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_IP4: i16 = 40;
const LOCAL_PORT: i16 = 60;

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// What the table is asked for, as the BPF program lays it out on its stack.
#[repr(C)]
struct Key {
    /// In network order.
    address: [u8; 4],
    /// In host order.
    port: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: to | (from << 4),
        offset,
        immediate,
    }
}

/// The table's entry for what goes elsewhere. No connection goes to this address.
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// Most listeners that connections are led to, with the one for elsewhere.
const LISTENERS_MAX: u32 = 128;

/// Leads connections in one network namespace, as long as it exists. A listener that is closed leaves the
/// table by itself.
pub(crate) struct Redirect {
    /// The table of listeners.
    pub(crate) map: OwnedFd,
    /// The program's place in the network namespace.
    pub(crate) link: OwnedFd,
}

impl Redirect {
    /// With an empty table, for this network namespace.
    pub(crate) fn attach(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        let map = descriptor(
            MAP_CREATE,
            &MapCreate {
                map_type: MAP_TYPE_SOCKHASH,
                key_size: 8,
                value_size: 8,
                max_entries: LISTENERS_MAX,
            },
        )?;
        let program = load(map.as_fd())?;
        let link = LinkCreate {
            program: program.as_raw_fd() as u32,
            target: namespace.as_raw_fd() as u32,
            attach_type: ATTACH_SK_LOOKUP,
            flags: 0,
        };
        let link = descriptor(LINK_CREATE, &link)?;
        Ok(Self { map, link })
    }

    /// Hands connections to `address` to the listener beside it, and IPv4 connections that leave
    /// 127.0.0.0/8 to `elsewhere`.
    pub(crate) fn lead(
        &self,
        listeners: &[(SocketAddrV4, OwnedFd)],
        elsewhere: Option<&OwnedFd>,
    ) -> io::Result<()> {
        let doors = listeners
            .iter()
            .map(|(address, listener)| (address, listener));
        let elsewhere = elsewhere.map(|listener| (&ELSEWHERE, listener));
        for (address, listener) in doors.chain(elsewhere) {
            let key = Key {
                address: address.ip().octets(),
                port: u32::from(address.port()),
            };
            let value = listener.as_raw_fd() as u64;
            let update = MapUpdate {
                map: self.map.as_raw_fd() as u32,
                pad: 0,
                key: (&raw const key) as u64,
                value: (&raw const value) as u64,
                flags: 0,
            };
            call(MAP_UPDATE, &update)?;
        }
        Ok(())
    }
}

/// "If the table has a socket for this address and port, it is that one. If not, this is IPv4 and TCP,
/// and it leaves 127.0.0.0/8, it is the one for elsewhere, if there is one. Then go on."
fn load(map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const LOOKUP: i32 = 1;
    const RELEASE: i32 = 86;
    const ASSIGN: i32 = 124;
    // The address's first byte, as it is in a register that the address in network order was read to.
    const FIRST: i32 = i32::from_ne_bytes([255, 0, 0, 0]);
    const LOOPBACK: i32 = i32::from_ne_bytes([127, 0, 0, 0]);
    let instructions = [
        instruction(0xbf, 6, 1, 0, 0), // r6 = context
        instruction(0x61, 2, 6, LOCAL_IP4, 0),
        instruction(0x63, 10, 2, -8, 0), // key.address
        instruction(0x61, 2, 6, LOCAL_PORT, 0),
        instruction(0x63, 10, 2, -4, 0),             // key.port
        instruction(0x18, 1, 1, 0, map.as_raw_fd()), // r1 = table, in two
        instruction(0x00, 0, 0, 0, 0),
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -8), // r2 = &key
        instruction(0x85, 0, 0, 0, LOOKUP),
        instruction(0x55, 0, 0, 14, 0), // found: assign it
        instruction(0x61, 1, 6, PROTOCOL, 0),
        instruction(0x55, 1, 0, 19, libc::IPPROTO_TCP), // other: to the end
        instruction(0x61, 1, 6, FAMILY, 0),
        instruction(0x55, 1, 0, 17, libc::AF_INET), // other: to the end
        instruction(0x61, 1, 6, LOCAL_IP4, 0),
        instruction(0x54, 1, 0, 0, FIRST),
        instruction(0x16, 1, 0, 14, LOOPBACK), // stays inside: to the end
        instruction(0x7a, 10, 0, -8, 0),       // key = ELSEWHERE
        instruction(0x18, 1, 1, 0, map.as_raw_fd()),
        instruction(0x00, 0, 0, 0, 0),
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -8),
        instruction(0x85, 0, 0, 0, LOOKUP),
        instruction(0x15, 0, 0, 7, 0), // none: to the end
        instruction(0xbf, 7, 0, 0, 0), // r7 = socket
        instruction(0xbf, 1, 6, 0, 0),
        instruction(0xbf, 2, 7, 0, 0),
        instruction(0xb7, 3, 0, 0, 0),
        instruction(0x85, 0, 0, 0, ASSIGN),
        instruction(0xbf, 1, 7, 0, 0),
        instruction(0x85, 0, 0, 0, RELEASE),
        instruction(0xb7, 0, 0, 0, 1), // SK_PASS
        instruction(0x95, 0, 0, 0, 0),
    ];
    let mut name = [0; 16];
    name[..5].copy_from_slice(b"rouse");
    let load = ProgramLoad {
        program_type: PROGRAM_TYPE_SK_LOOKUP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
        name,
        interface: 0,
        attach_type: ATTACH_SK_LOOKUP,
    };
    descriptor(PROGRAM_LOAD, &load)
}

fn descriptor<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let answer = call(command, attributes)?;
    // SAFETY: these commands answer with a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) })
}

/// bpf(2). The kernel makes its descriptors close-on-exec.
fn call<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is the command's part of `union bpf_attr`, as long as the size passed,
    // without padding that is not zero; what its addresses name outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

//! UDP sockets with room for what arrives while the process is busy.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::SockRef;

use super::limits::SOCKET_BUFFER;

/// Binds a socket and asks the system for a large buffer. The system grants what its own limit
/// allows (on Linux `net.core.rmem_max`); less costs speed and nothing else.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let _ = SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_buffer_is_no_smaller_than_the_system_gives_unasked() {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let size = |socket: &UdpSocket| SockRef::from(socket).recv_buffer_size().unwrap();
        let unasked = UdpSocket::bind(address).unwrap();
        assert!(size(&bind(address).unwrap()) >= size(&unasked));
    }
}

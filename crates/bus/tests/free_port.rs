//! A reserved port of the loopback. A process of its own: where another thread starts a program, that program's copy of a listener's
//! socket lives until it is executed, and the port is in use for as long.

use sipdo_bus::local::free_port;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_free_port_may_be_listened_at_again_and_again_and_is_given_to_nobody_else() {
    let (port, _reserved) = free_port().unwrap();
    let mut others = Vec::new();
    for _ in 0..100 {
        let server = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        drop(server);
        let other = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        assert_ne!(other.local_addr().unwrap().port(), port);
        others.push(other);
    }
}

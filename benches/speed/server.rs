//! The servers of the peers, on loopback in a directory of their own, ended with the benchmark.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::clock::pause;
use crate::subject::endpoint;

/// A server that runs until this is dropped.
pub struct Server {
    process: Child,
    pub port: u16,
    _data: TempDir,
}

/// `None` where it is not installed.
pub fn redis() -> io::Result<Option<Server>> {
    let port = free_port()?;
    let data = tempfile::tempdir()?;
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.arg("--dir").arg(data.path());
    start(command, port, data)
}

/// `None` where it or its client is not installed. Synced to disk, as it comes.
pub fn etcd() -> io::Result<Option<Server>> {
    let installed = Command::new("etcdctl").arg("version").stdout(Stdio::null()).status();
    if installed.is_err() {
        return Ok(None);
    }
    let (port, peers) = (free_port()?, free_port()?);
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(data.path().join("etcd"));
    command.args(["--listen-client-urls", &endpoint(port)]);
    command.args(["--advertise-client-urls", &endpoint(port)]);
    command.args(["--listen-peer-urls", &endpoint(peers)]);
    command.args(["--initial-advertise-peer-urls", &endpoint(peers)]);
    command.args(["--initial-cluster", &format!("default={}", endpoint(peers))]);
    start(command, port, data)
}

fn start(mut command: Command, port: u16, data: TempDir) -> io::Result<Option<Server>> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = match quiet.spawn() {
        Ok(process) => process,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let server = Server { process, port, _data: data };
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            // It listens; it may still have to elect itself.
            pause(Duration::from_secs(1));
            return Ok(Some(server));
        }
        pause(Duration::from_millis(20));
    }
    Err(io::Error::other(format!("{command:?} does not listen")))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

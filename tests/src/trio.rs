//! Three nats-servers as one cluster, each a process that can be killed alone.

use anyhow::{Context as _, Result};
use sipdo_bus::local::find_binary;
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

/// The servers.
#[derive(Debug)]
pub struct Trio {
    servers: Vec<(Child, SocketAddr)>,
}

impl Trio {
    /// Starts three servers with their data in `folder`. Clients wait until the cluster has found itself.
    ///
    /// # Errors
    /// No binary, or no free port.
    pub fn start(folder: &Path) -> Result<Self> {
        let addresses = free(6)?;
        let (clients, routes) = addresses.split_at(3);
        let known: Vec<String> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
        let mut servers = Vec::new();
        for (number, (client, route)) in clients.iter().zip(routes).enumerate() {
            let folder = folder.join(format!("server-{number}"));
            fs::create_dir_all(&folder)?;
            let config = folder.join("nats.conf");
            let text = format!(
                "server_name: server-{number}\nlisten: \"{client}\"\nlog_file: \"{0}/log\"\n\
                 jetstream {{ store_dir: \"{0}\", sync_interval: always }}\n\
                 cluster {{ name: trio, listen: \"{route}\", routes: [{1}] }}\n",
                folder.display(),
                known.join(", ")
            );
            fs::write(&config, text)?;
            let child = Command::new(find_binary()?)
                .arg("--config")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("cannot start nats-server")?;
            servers.push((child, *client));
        }
        Ok(Trio { servers })
    }

    /// Where clients connect, all three.
    pub fn urls(&self) -> String {
        let urls: Vec<String> = self
            .servers
            .iter()
            .map(|(_, client)| format!("nats://{client}"))
            .collect();
        urls.join(",")
    }

    /// Kills one for good.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let (child, _) = self.servers.get_mut(number).context("there are three")?;
        drop(child.kill());
        child.wait()?;
        Ok(())
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        for number in 0..self.servers.len() {
            drop(self.kill(number));
        }
    }
}

/// Addresses of this machine that nobody listens at, all different.
fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}

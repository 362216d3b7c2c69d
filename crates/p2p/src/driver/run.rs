//! The network's thread.
use super::{Command, StartError};
use crate::{Event, Options, View};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

pub(super) async fn spawn(
    options: Options,
    _view: Arc<dyn View>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Vec<SocketAddr>, StartError> {
    let mut listening = Vec::new();
    for &address in &options.listen {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Listen { address, source })?;
        listening.extend(listener.local_addr().ok());
    }
    tokio::spawn(async move {
        let _events = events;
        while let Some(command) = inbox.recv().await {
            if let Command::Stop(done) = command {
                let _ = done.send(());
                return;
            }
        }
    });
    Ok(listening)
}

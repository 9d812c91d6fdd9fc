//! Accepts the connections of a server on loopback, with a thread for each connection, until the server is dropped.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// Accepts connections. Dropping it closes all of them, and waits for their threads.
#[derive(Debug)]
pub(crate) struct Acceptor {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    /// The open connections, and their threads.
    open: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

impl Acceptor {
    /// Calls `converse` for each connection, and then closes it.
    pub(crate) fn start<C>(listener: TcpListener, address: SocketAddr, converse: C) -> Self
    where
        C: Fn(&TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    {
        let (shared, converse) = (Arc::<Shared>::default(), Arc::new(converse));
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for connection in listener.incoming() {
                    if shared.stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(connection) = connection else { continue };
                    let Ok(handle) = connection.try_clone() else { continue };
                    let converse = Arc::clone(&converse);
                    let worker = std::thread::spawn(move || {
                        let _ = converse(&connection);
                        let _ = connection.shutdown(Shutdown::Both);
                    });
                    let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
                    // Remove the connections that have ended, so that their stacks and files are freed.
                    open.retain(|(_, worker)| !worker.is_finished());
                    open.push((handle, worker));
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let open = std::mem::take(&mut *self.shared.open.lock().unwrap_or_else(PoisonError::into_inner));
        for (connection, _) in &open {
            let _ = connection.shutdown(Shutdown::Both);
        }
        for (_, worker) in open {
            let _ = worker.join();
        }
    }
}

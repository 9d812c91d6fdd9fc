//! Brings a blob into a repository: by a mount from another repository, or by an upload in one request. An interrupted
//! upload is resumed with further requests.

use mlconda_channel::network::{
    BodyKind, Transfer,
    send::{self, Method, Outgoing, PieceSender},
};
use mlconda_types::progress::{Event, Progress};
use reqwest::{
    StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE},
};
use url::Url;

use super::{Ask, Repository, header};
use crate::{Blob, Descriptor, OciError, read::is_passing};

/// How often a failed upload is resumed.
const MOST_FAILURES: u32 = 4;

/// The largest answer to a part of an upload, in bytes.
const LARGEST_ANSWER: u64 = 1 << 20;

/// How a blob came into the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    There,
    Mounted,
    Sent,
}

/// The answer of a registry to a mount.
enum Mount {
    Done,
    /// The registry did not mount the blob, but has begun an upload at this URL.
    Session(Url),
    Refused,
}

impl Repository {
    /// Brings a blob into the repository. `mounts` are repositories of the same registry that may have it.
    pub(super) async fn bring(
        &self,
        blob: &Blob,
        mounts: &[String],
        progress: &dyn Progress,
    ) -> Result<Outcome, OciError> {
        let descriptor = &blob.descriptor;
        if self.has_blob(descriptor).await? {
            progress.event(Event::AlreadyThere { bytes: descriptor.size });
            return Ok(Outcome::There);
        }
        let mut session = None;
        for from in mounts {
            match self.mount(descriptor, from).await? {
                Mount::Done => {
                    progress.event(Event::AlreadyThere { bytes: descriptor.size });
                    return Ok(Outcome::Mounted);
                }
                Mount::Session(url) => session = Some((url, 0)),
                Mount::Refused => {}
            }
        }
        self.upload(blob, session, progress).await?;
        Ok(Outcome::Sent)
    }

    /// Asks the registry to mount the blob from another of its repositories.
    async fn mount(&self, descriptor: &Descriptor, from: &str) -> Result<Mount, OciError> {
        let url = self.join(&format!("blobs/uploads/?mount={}&from={from}", descriptor.digest))?;
        let what = format!("a push to `{self}`");
        let transfer = self.ask(Ask::new(Method::POST, &url, &what)).await?;
        // A blob that cannot be mounted is sent.
        Ok(match transfer.status() {
            StatusCode::CREATED => Mount::Done,
            StatusCode::ACCEPTED => self.location(&url, &transfer, &what).map_or(Mount::Refused, Mount::Session),
            _ => Mount::Refused,
        })
    }

    /// Sends the blob. `session` is the URL of an upload that has begun, and the number of bytes that have arrived.
    async fn upload(
        &self,
        blob: &Blob,
        mut session: Option<(Url, u64)>,
        progress: &dyn Progress,
    ) -> Result<(), OciError> {
        let what = blob.what();
        let mut delay = self.shared.options.retry_delay;
        for failures in 0.. {
            let (url, offset) = match session.take() {
                Some(session) => session,
                None => (self.begin_upload().await?, 0),
            };
            let mut sent = 0;
            let error = match self.send_rest(blob, &url, offset, (&mut sent, progress)).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            progress.event(Event::UploadedAgain { bytes: sent });
            if failures >= MOST_FAILURES || !is_worth_retrying(&error) {
                return Err(error);
            }
            if matches!(&error, OciError::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED) {
                self.forget_token().await;
            }
            tokio::time::sleep(delay).await;
            delay *= 2;
            session = self.resume_upload(&url, &what).await?;
            match &session {
                Some((_, offset)) => progress.event(Event::Uploaded { bytes: *offset }),
                // The blob may be complete, and only the answer was lost.
                None if self.has_blob(&blob.descriptor).await? => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    /// Begins an upload. Returns the URL to send the blob to.
    async fn begin_upload(&self) -> Result<Url, OciError> {
        let what = format!("a push to `{self}`");
        let url = self.join("blobs/uploads/")?;
        let transfer = self.ask(Ask::new(Method::POST, &url, &what)).await?;
        let transfer = self.successful(transfer, &what).await?;
        self.location(&url, &transfer, &what)
    }

    /// The URL and the position at which an upload continues. `None` if it must begin again.
    async fn resume_upload(&self, url: &Url, what: &str) -> Result<Option<(Url, u64)>, OciError> {
        let transfer = self.ask(Ask::new(Method::GET, url, what)).await?;
        if transfer.status() != StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let last = header(&transfer, RANGE).and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok());
        // `0-0` is ambiguous: some registries mean one byte by it, and others none.
        let Some(last) = last.filter(|last| *last > 0) else { return Ok(None) };
        let url = if transfer.header(LOCATION).is_some() { self.location(url, &transfer, what)? } else { url.clone() };
        Ok(Some((url, last.saturating_add(1))))
    }

    /// Sends the blob from `offset` on, and completes the upload. `sent` is set to the number of bytes that were sent.
    async fn send_rest(
        &self,
        blob: &Blob,
        url: &Url,
        offset: u64,
        (sent, progress): (&mut u64, &dyn Progress),
    ) -> Result<(), OciError> {
        let (digest, size) = (blob.descriptor.digest.to_string(), blob.descriptor.size);
        let what = blob.what();
        let mut last = url.clone();
        // After a resumed part, the last request has no body, because all bytes have arrived.
        let begin = if offset > 0 { size } else { 0 };
        if offset > 0 && offset < size {
            let transfer = self.stream(Method::PATCH, url, blob, offset, (sent, progress)).await?;
            let transfer = self.accepted(transfer, &what).await?;
            last = self.location(url, &transfer, &what)?;
        }
        last.query_pairs_mut().append_pair("digest", &digest);
        let transfer = self.stream(Method::PUT, &last, blob, begin, (sent, progress)).await?;
        self.arrived(transfer, &what).await
    }

    /// Sends a request whose body is a blob from `offset` on.
    async fn stream(
        &self,
        method: Method,
        url: &Url,
        blob: &Blob,
        offset: u64,
        (sent, progress): (&mut u64, &dyn Progress),
    ) -> Result<Transfer, OciError> {
        let size = blob.descriptor.size;
        let (sender, body) = send::pieces(size.saturating_sub(offset));
        let range = format!("{offset}-{}", size.saturating_sub(1));
        let mut headers: Vec<(HeaderName, &str)> = vec![(CONTENT_TYPE, "application/octet-stream")];
        if offset > 0 && offset < size {
            headers.push((CONTENT_RANGE, &range));
        }
        let authorization = self.authorization(url).await;
        let answer = BodyKind::Metadata(LARGEST_ANSWER);
        let authorization = authorization.as_deref();
        let request = self.shared.client.send(Outgoing { method, url, headers: &headers, authorization, body, answer });
        let feeding = feed(blob, offset, sender, (sent, progress));
        let (mut request, mut feeding) = (std::pin::pin!(request), std::pin::pin!(feeding));
        let mut is_fed = false;
        loop {
            tokio::select! {
                // An error of the blob itself is the reason, so it comes before the answer of the registry.
                biased;
                outcome = &mut feeding, if !is_fed => {
                    outcome?;
                    is_fed = true;
                }
                answer = &mut request => return answer.map_err(OciError::network(&blob.what())),
            }
        }
    }

    /// Checks the answer to a part of a blob.
    async fn accepted(&self, transfer: Transfer, what: &str) -> Result<Transfer, OciError> {
        // The token may have expired meanwhile, so this is not a denial yet.
        if transfer.status() == StatusCode::UNAUTHORIZED {
            let (what, status) = (what.to_owned(), transfer.status());
            return Err(OciError::Refused { what, status, wait: None, said: super::said(transfer).await });
        }
        self.successful(transfer, what).await
    }

    /// Checks the answer to a complete blob.
    async fn arrived(&self, transfer: Transfer, what: &str) -> Result<(), OciError> {
        let transfer = self.accepted(transfer, what).await?;
        if transfer.status() == StatusCode::CREATED {
            return Ok(());
        }
        let status = transfer.status();
        Err(OciError::Refused { what: what.to_owned(), status, wait: None, said: super::said(transfer).await })
    }

    /// The URL in `Location`, at which an upload continues.
    fn location(&self, url: &Url, transfer: &Transfer, what: &str) -> Result<Url, OciError> {
        let invalid = |reason: String| OciError::invalid(format!("the answer for {what}"), reason);
        let location = transfer.header(LOCATION).ok_or_else(|| invalid("it has no `Location`".to_owned()))?;
        let location = url.join(location).map_err(|error| invalid(format!("its `Location` is no URL ({error})")))?;
        mlconda_channel::network::check_scheme(&self.url, &location).map_err(|error| invalid(error.to_string()))?;
        Ok(location)
    }
}

/// Reads a blob, and sends its bytes from `offset` on.
async fn feed(
    blob: &Blob,
    offset: u64,
    sender: PieceSender,
    (sent, progress): (&mut u64, &dyn Progress),
) -> Result<(), OciError> {
    // All bytes have arrived.
    if offset > 0 && offset >= blob.descriptor.size {
        return Ok(());
    }
    let mut reader = blob.open()?;
    let mut skip = offset;
    while let Some(mut piece) = reader.next().await? {
        let skipped = usize::try_from(skip).map_or(piece.len(), |skip| skip.min(piece.len()));
        skip -= skipped as u64;
        piece.drain(..skipped);
        if piece.is_empty() {
            continue;
        }
        let bytes = piece.len() as u64;
        sender.send(piece).await;
        *sent += bytes;
        progress.event(Event::Uploaded { bytes });
    }
    Ok(())
}

/// Whether an upload may succeed if it is resumed.
fn is_worth_retrying(error: &OciError) -> bool {
    match error {
        OciError::Network { source, .. } => is_passing(source),
        OciError::Refused { status, .. } => {
            status.is_server_error()
                || [
                    StatusCode::UNAUTHORIZED,
                    StatusCode::REQUEST_TIMEOUT,
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::RANGE_NOT_SATISFIABLE,
                ]
                .contains(status)
        }
        // The registry does not know the upload any more, so it begins again.
        OciError::Missing { .. } => true,
        _ => false,
    }
}

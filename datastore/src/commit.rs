//! The commit loop: the one writer. All requests that wait become one SQLite transaction with one fsync, or none where
//! nothing of it needs one ([`crate::durability`]); revisions are given there and nowhere else, and watchers are told
//! before the requests are answered.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use daemon::drain::Drain;
use parking_lot::Mutex;
use proto::etcd::etcdserverpb::{TxnRequest, TxnResponse};
use proto::etcd::mvccpb::Event;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use store::{LeaseId, Revision};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::attempt::{Attempt, Identity};
use crate::compact::Marks;
use crate::durability::{self, Lazy};
use crate::fault::Fault;
use crate::lease::Leases;
use crate::sqlite;
use crate::watch::Hub;

/// Requests that share a transaction at most: more would make the first of them wait for the last.
const MOST_TOGETHER: usize = 256;

/// Requests that may wait; further ones wait at their connection, so that memory stays bounded in a stall.
const MOST_WAITING: usize = 1024;

/// How long a request waits for the disk before it is told so: longer than an SD card's worst pause, shorter than the
/// minute after which clients of the API give up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the loop rests after the disk has failed work of its own (ended leases, compaction), which no client waits
/// for: soon enough after space was made, seldom enough to cost nothing.
const REST: Duration = Duration::from_secs(5);

type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// Something to commit.
#[derive(Debug)]
enum Job {
    Transact(TxnRequest, Answer<TxnResponse>),
    Compact(Revision, Answer<Revision>),
    Grant { id: LeaseId, ttl: i64, answer: Answer<Revision> },
    Revoke(LeaseId, Option<Answer<Revision>>),
    Shrink(Answer<Revision>),
}

/// The way to the commit loop.
#[derive(Debug, Clone)]
pub(crate) struct Commits {
    jobs: mpsc::Sender<Job>,
}

impl Commits {
    pub(crate) async fn transact(&self, request: TxnRequest) -> Result<TxnResponse, Fault> {
        self.ask(|answer| Job::Transact(request, answer)).await
    }

    pub(crate) async fn compact(&self, revision: Revision) -> Result<Revision, Fault> {
        self.ask(|answer| Job::Compact(revision, answer)).await
    }

    pub(crate) async fn grant(&self, id: LeaseId, ttl: i64) -> Result<Revision, Fault> {
        self.ask(|answer| Job::Grant { id, ttl, answer }).await
    }

    pub(crate) async fn revoke(&self, id: LeaseId) -> Result<Revision, Fault> {
        self.ask(|answer| Job::Revoke(id, Some(answer))).await
    }

    /// Gives the space that nothing is in back to the file system.
    pub(crate) async fn shrink(&self) -> Result<Revision, Fault> {
        self.ask(Job::Shrink).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let waiting = async {
            self.jobs.send(job(answer)).await.map_err(|_| Fault::Stopped)?;
            answered.await.unwrap_or(Err(Fault::Stopped))
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or(Err(Fault::TimedOut))
    }
}

/// What the loop shares with those who read.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    pub(crate) leases: Arc<Mutex<Leases>>,
    /// Whether the last commit failed for want of space.
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) identity: Identity,
}

/// Commits since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Those that waited for the disk.
    pub(crate) durable: AtomicU64,
    /// Those that the system writes when it likes.
    pub(crate) lazy: AtomicU64,
}

/// The commit loop.
#[derive(Debug)]
pub(crate) struct Committer {
    file: SqliteConnection,
    path: PathBuf,
    jobs: mpsc::Receiver<Job>,
    shared: Shared,
    revision: Revision,
    compacted: Revision,
    scrubbed: Revision,
    /// Up to which revision numbers may be given before the disk has them.
    reserved: Revision,
    /// Whether commits wait for the disk as things are set now.
    waits: bool,
    lazy: Lazy,
    marks: Marks,
    /// Until when the loop leaves its own work, after that has failed.
    rest: Option<Instant>,
}

/// What a group of jobs has come to, to take effect once it is on disk.
#[derive(Default)]
struct Group {
    revision: Revision,
    compacted: Revision,
    scrubbed: Revision,
    reserved: Revision,
    commits: Vec<(Revision, Vec<Event>)>,
    granted: Vec<(LeaseId, i64)>,
    ended: Vec<LeaseId>,
    replies: Vec<Reply>,
    shrink: Vec<Answer<Revision>>,
}

type Reply = Box<dyn FnOnce(Result<(), Fault>) + Send>;

fn reply<T: Send + 'static>(answer: Answer<T>, outcome: Result<T, Fault>) -> Reply {
    // Who asked may have gone; then nobody waits for the answer.
    Box::new(move |committed| drop(answer.send(committed.and(outcome))))
}

impl Committer {
    pub(crate) fn new(
        file: SqliteConnection,
        path: PathBuf,
        meta: sqlite::Meta,
        shared: Shared,
        marks: Marks,
        lazy: Lazy,
    ) -> (Self, Commits) {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let committer = Self {
            file,
            path,
            jobs: waiting,
            shared,
            revision: meta.revision,
            compacted: meta.compacted,
            scrubbed: meta.scrubbed,
            reserved: meta.reserved,
            waits: true,
            lazy,
            marks,
            rest: None,
        };
        (committer, Commits { jobs })
    }

    /// Commits until the process drains; what is waiting then is committed still.
    pub(crate) async fn run(mut self, drain: Drain) -> anyhow::Result<()> {
        let mut jobs = Vec::new();
        loop {
            let due = self.due();
            let own_work = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                count = self.jobs.recv_many(&mut jobs, MOST_TOGETHER) => if count == 0 { break },
                () = own_work => {}
                () = drain.signaled(), if !self.jobs.is_closed() => self.jobs.close(),
            }
            self.commit(jobs.drain(..).collect()).await;
        }
        self.settle_up().await;
        self.file.close().await?;
        Ok(())
    }

    /// Waits until the disk has everything, and gives back what was reserved.
    async fn settle_up(&mut self) {
        let settled = async {
            sqlite::wait_for_disk(&mut self.file, true).await?;
            sqlite::set_meta(&mut self.file, "reserved", self.revision).await
        };
        if let Err(error) = settled.await {
            // Then the next start takes this for a power cut, which is as good.
            tracing::warn!("could not settle {}: {error}", self.path.display());
        }
    }

    /// When there is work that nobody asks for.
    fn due(&self) -> Option<Instant> {
        let soon = (self.scrubbed < self.compacted).then(Instant::now);
        let lease = self.shared.leases.lock().next();
        let due = [soon, lease].into_iter().flatten().min()?;
        Some(self.rest.map_or(due, |rest| due.max(rest)))
    }

    async fn commit(&mut self, jobs: VecDeque<Job>) {
        let mut jobs = jobs;
        let mut group = Group {
            revision: self.revision,
            compacted: self.compacted,
            scrubbed: self.scrubbed,
            reserved: self.reserved,
            ..Group::default()
        };
        let filled = self.fill(&mut group, &mut jobs).await;
        match filled {
            Ok(()) => self.settle(group).await,
            Err(fault) => self.fail(&fault, group, jobs),
        }
    }

    /// Makes the changes of all jobs and what is due by itself, in one transaction on disk.
    async fn fill(&mut self, group: &mut Group, jobs: &mut VecDeque<Job>) -> Result<(), Fault> {
        let now = Instant::now();
        let rested = self.rest.is_none_or(|rest| rest <= now);
        if rested {
            let ended = self.shared.leases.lock().ended(now);
            ended.into_iter().for_each(|lease| jobs.push_front(Job::Revoke(lease, None)));
        }
        // Each job makes one revision at most.
        let furthest = group.revision + jobs.len() as Revision;
        let wait = furthest > self.reserved || !jobs.iter().all(|job| job.is_lazy(&self.lazy));
        if wait != self.waits {
            sqlite::wait_for_disk(&mut self.file, wait).await?;
            self.waits = wait;
        }
        let mut transaction = self.file.begin().await?;
        while let Some(job) = jobs.pop_front() {
            perform(&mut transaction, self.shared.identity, group, job).await?;
        }
        if rested {
            // Compaction waits for a write to go with: an idle store wakes no disk for it.
            let written = !group.commits.is_empty();
            if let Some(target) =
                written.then(|| self.marks.due(now, group.revision, group.compacted)).flatten()
            {
                group.compacted = target;
                sqlite::set_meta(&mut transaction, "compacted", target).await?;
            }
            if group.scrubbed < group.compacted {
                let until = group.compacted.min(group.scrubbed + sqlite::STEP);
                sqlite::scrub(&mut transaction, group.scrubbed, until).await?;
                group.scrubbed = until;
            }
        }
        if wait
            && !group.commits.is_empty()
            && let Some(end) = durability::reservation(group.revision, group.reserved)
        {
            sqlite::set_meta(&mut transaction, "reserved", end).await?;
            group.reserved = end;
        }
        transaction.commit().await?;
        let counts = &self.shared.counts;
        let counter = if wait { &counts.durable } else { &counts.lazy };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Lets a group that is on disk take effect.
    async fn settle(&mut self, group: Group) {
        self.revision = group.revision;
        self.compacted = group.compacted;
        self.scrubbed = group.scrubbed;
        self.reserved = group.reserved;
        self.rest = None;
        self.shared.hub.compact(self.compacted);
        let now = Instant::now();
        if !group.commits.is_empty() {
            self.shared.full.store(false, Ordering::Relaxed);
            self.marks.note(now, self.revision);
        }
        for (revision, events) in group.commits {
            self.shared.hub.publish(revision, events);
        }
        {
            let mut leases = self.shared.leases.lock();
            group.granted.into_iter().for_each(|(id, ttl)| leases.insert(id, ttl, now));
            group.ended.into_iter().for_each(|id| leases.remove(id));
        }
        group.replies.into_iter().for_each(|reply| reply(Ok(())));
        if !group.shrink.is_empty() {
            let shrunk = sqlite::shrink(&mut self.file).await.map_err(Fault::from).map(|()| self.revision);
            group.shrink.into_iter().for_each(|answer| drop(answer.send(shrunk.clone())));
        }
    }

    /// Tells everybody in a group that nothing of it was done, and why.
    fn fail(&mut self, fault: &Fault, group: Group, jobs: VecDeque<Job>) {
        let path = self.path.display();
        if *fault == Fault::NoSpace {
            self.shared.full.store(true, Ordering::Relaxed);
            tracing::error!(
                "the disk under {path} is full: nothing is written until there is space; reads go on"
            );
        } else {
            tracing::error!("could not commit to {path}: {fault}");
        }
        self.rest = Some(Instant::now() + REST);
        group.replies.into_iter().for_each(|reply| reply(Err(fault.clone())));
        group.shrink.into_iter().for_each(|answer| drop(answer.send(Err(fault.clone()))));
        jobs.into_iter().for_each(|job| job.fail(fault.clone()));
    }
}

impl Job {
    /// Whether it may be lost in a power cut, if nothing after it is kept.
    fn is_lazy(&self, lazy: &Lazy) -> bool {
        match self {
            Self::Transact(request, _) => lazy.covers(request),
            // A lease that has ended ends again; one without lasting keys is nothing that lasts.
            Self::Revoke(_, None) | Self::Grant { .. } => true,
            Self::Revoke(_, Some(_)) | Self::Compact(..) | Self::Shrink(_) => false,
        }
    }

    fn fail(self, fault: Fault) {
        match self {
            Self::Transact(_, answer) => drop(answer.send(Err(fault))),
            Self::Compact(_, answer) | Self::Grant { answer, .. } | Self::Shrink(answer) => {
                drop(answer.send(Err(fault)));
            }
            Self::Revoke(_, answer) => drop(answer.map(|answer| answer.send(Err(fault)))),
        }
    }
}

/// Does one job within the group's transaction. A refusal is the job's own; an error is the whole group's.
async fn perform(
    file: &mut SqliteConnection,
    identity: Identity,
    group: &mut Group,
    job: Job,
) -> Result<(), Fault> {
    let mut attempt = Attempt { file, identity, revision: group.revision, events: Vec::new() };
    match job {
        Job::Transact(request, answer) => {
            let outcome = attempt.transact(request).await;
            let broken = outcome.as_ref().err().filter(|fault| fault.is_storage()).cloned();
            let (reached, events) = (attempt.reached(), attempt.events);
            group.replies.push(reply(answer, outcome));
            group.add(reached, events, broken)
        }
        Job::Revoke(lease, answer) => {
            let outcome = attempt.revoke(lease).await;
            let broken = outcome.as_ref().err().filter(|fault| fault.is_storage()).cloned();
            let (reached, events) = (attempt.reached(), attempt.events);
            group.ended.push(lease);
            group.replies.extend(answer.map(|answer| reply(answer, outcome.map(|()| reached))));
            group.add(reached, events, broken)
        }
        Job::Grant { id, ttl, answer } => {
            if sqlite::has_lease(file, id).await? {
                group.replies.push(reply(answer, Err(Fault::LeaseExists)));
            } else {
                sqlite::add_lease(file, id, ttl).await?;
                group.granted.push((id, ttl));
                group.replies.push(reply(answer, Ok(group.revision)));
            }
            Ok(())
        }
        Job::Compact(revision, answer) => {
            let outcome = if revision > group.revision {
                Err(Fault::Future)
            } else if revision <= group.compacted {
                Err(Fault::Compacted { oldest: group.compacted })
            } else {
                sqlite::set_meta(file, "compacted", revision).await?;
                group.compacted = revision;
                Ok(group.revision)
            };
            group.replies.push(reply(answer, outcome));
            Ok(())
        }
        Job::Shrink(answer) => {
            group.shrink.push(answer);
            Ok(())
        }
    }
}

impl Group {
    fn add(&mut self, reached: Revision, events: Vec<Event>, broken: Option<Fault>) -> Result<(), Fault> {
        if !events.is_empty() {
            self.commits.push((reached, events));
        }
        self.revision = reached;
        broken.map_or(Ok(()), Err)
    }
}

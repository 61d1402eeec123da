//! What putting a home back will do. Nothing is changed by finding out.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use crate::instance::tree_path;
use crate::ops::browse::{BrowseError, resolve};
use crate::ops::restore::{self, Overwrite, RestoreOptions, RestorePlan};
use crate::ops::restore_database::{Contents, DatabasePlan};
use crate::repository::{Fetcher, Repository};
use crate::snapshot::Selected;

use super::file::{COMPOSE_FILES, ClusterPlace, ComposeFile};
use super::journal::{Item, Journal, Operation};
use super::{HomeError, Stack, Work, database, reflink};

/// Bytes of opened segments kept while trees are read.
const TREE_CACHE: usize = 16 << 20;
/// Longest compose file.
const FILE_LIMIT: u64 = 16 << 20;
/// Files that say what runs, with their secrets: they belong to one instance.
const OWN: [&str; 1] = [".env"];

/// Choices.
#[derive(Debug, Clone, Default)]
pub struct HomeOptions {
    /// How long what is replaced is kept.
    pub keep: SignedDuration,
    /// Begin a new cluster; the old one's files are kept aside.
    pub new_server: bool,
    /// The compose file that is there stays.
    pub keep_compose: bool,
    /// Put in the data of another instance; its compose file stays out.
    pub other_instance: bool,
    /// Replace databases of a cluster the snapshot was not taken from.
    pub other_cluster: bool,
}

/// How databases come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// There are none.
    Files,
    /// Into the running server, beside the live ones.
    Beside,
    /// Into a server that is made anew.
    NewServer,
}

/// What putting a home back will do.
pub struct HomePlan {
    /// The snapshot.
    pub selected: Selected,
    /// How.
    pub options: HomeOptions,
    /// How databases come in.
    pub mode: Mode,
    /// The files, into the directory beside.
    pub files: RestorePlan,
    /// Whether unchanged files share their blocks with what is there.
    pub shares: bool,
    /// What is exchanged.
    pub items: Vec<Item>,
    /// Paths of the configuration that stay as they are, and why.
    pub stays: Vec<(PathBuf, &'static str)>,
    /// The containers; `None` if there are none.
    pub stack: Option<Stack>,
    /// Whether the compose file changes.
    pub by_compose: bool,
    /// The database's compose service, for a new server.
    pub service: Option<String>,
    /// Databases, beside the live ones.
    pub databases: Vec<DatabasePlan>,
    /// Names of the databases of a new server.
    pub names: Vec<String>,
    /// What is kept no longer.
    pub expired: Vec<Operation>,
}

/// Plans to put the snapshot into the home.
pub fn plan(
    work: &Work<'_>,
    repository: &Repository,
    selected: Selected,
    options: HomeOptions,
) -> Result<HomePlan, HomeError> {
    check_instance(work, &selected, &options)?;
    let journal = work.journal()?;
    let fetcher = Fetcher::new(repository, TREE_CACHE);
    let (mut items, mut stays) = items(work, &fetcher, &selected, &options)?;
    let file = new_file(work, &fetcher, &selected, &items);
    let stack = Stack::find(work, file.is_some())?;
    let names = database::wanted(work, &selected);
    let mode = mode(work, stack.as_ref(), file.as_deref(), &names, &options)?;
    let service = check_server(work, stack.as_ref(), file.as_deref(), mode)?;
    if mode == Mode::NewServer {
        items.extend(cluster_item(work, file.as_deref(), service.as_deref())?);
    }
    check_items(work, &journal, &items)?;
    let incoming = journal.incoming(journal.next_number());
    let (files, shares) = files(work, repository, &selected, &items, &incoming)?;
    let mut databases = Vec::new();
    if mode == Mode::Beside
        && let Some(cluster) = work.cluster()?
    {
        for name in &names {
            databases.push(database::plan(work, repository, &selected, &cluster, name, &options)?);
        }
    }
    for name in work.instance.postgres.iter().flat_map(|config| &config.databases.value) {
        if !names.contains(name) {
            stays.push((PathBuf::from(name), "a database that is not in the snapshot"));
        }
    }
    let now = work.clock.now();
    let mut expired = journal.kept()?;
    expired.retain(|one| one.until.is_some_and(|until| until <= now));
    let by_compose = file.is_some();
    Ok(HomePlan {
        selected,
        options,
        mode,
        files,
        shares,
        items,
        stays,
        stack,
        by_compose,
        service,
        databases,
        names,
        expired,
    })
}

/// Another instance's data is somebody else's data.
fn check_instance(
    work: &Work<'_>,
    selected: &Selected,
    options: &HomeOptions,
) -> Result<(), HomeError> {
    let (own, other) = (&work.instance.name, &selected.1.instance);
    if own == other || options.other_instance {
        return Ok(());
    }
    Err(HomeError::refused(
        format!("snapshot {} is of instance `{other}`, not of `{own}`", selected.0.short()),
        "--other-instance puts its data in as it is, with real people's records; the compose file that is there stays",
    ))
}

type Items = (Vec<Item>, Vec<(PathBuf, &'static str)>);

/// Paths of the configuration that the snapshot has.
fn items(
    work: &Work<'_>,
    fetcher: &Fetcher<'_>,
    selected: &Selected,
    options: &HomeOptions,
) -> Result<Items, HomeError> {
    let keeps_file = options.keep_compose || options.other_instance;
    let (mut items, mut stays): Items = Default::default();
    for path in &work.instance.paths.value {
        let relative = path.strip_prefix(work.home()).unwrap_or(path);
        let tree = tree_path(path);
        if tree.is_empty() || relative.as_os_str().is_empty() {
            return Err(HomeError::refused(
                "`paths` has the whole home, in which a database server may have its files",
                "name in `paths` what is to be saved, one by one; or restore with --path into another directory",
            ));
        }
        let plain: PathBuf =
            relative.components().filter(|part| *part != std::path::Component::CurDir).collect();
        let is_own = |name: &&str| plain == Path::new(name);
        if keeps_file && COMPOSE_FILES.iter().chain(&OWN).any(is_own) {
            stays.push((plain, "it says what runs here"));
        } else if relative.is_absolute() {
            stays.push((plain, "it is not in the home: restore it with --path"));
        } else {
            match resolve(fetcher, &selected.1, &tree) {
                Ok(_) => items.push(Item { path: plain, comes: true }),
                Err(BrowseError::NotFound { .. } | BrowseError::NotADirectory { .. }) => {
                    stays.push((plain, "it is not in the snapshot"));
                }
                Err(BrowseError::Repository(error)) => {
                    return Err(restore::RestoreError::from(error).into());
                }
                Err(error) => {
                    return Err(restore::RestoreError::Pattern(error.to_string()).into());
                }
            }
        }
    }
    // What lies in another one comes and goes with it.
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items.dedup_by(|next, before| next.path.starts_with(&before.path));
    if items.is_empty() {
        return Err(HomeError::refused(
            format!(
                "snapshot {} has none of the paths of instance `{}`",
                selected.0.short(),
                work.instance.name
            ),
            "mrs-backup ls SNAPSHOT shows what it has; correct `paths`, or restore with --path",
        ));
    }
    Ok((items, stays))
}

/// The text of the compose file that comes in, if it is another one than the one that is there.
fn new_file(
    work: &Work<'_>,
    fetcher: &Fetcher<'_>,
    selected: &Selected,
    items: &[Item],
) -> Option<Vec<u8>> {
    let is_item = |name: &&&str| items.iter().any(|item| item.path == Path::new(name));
    let name = COMPOSE_FILES.iter().find(is_item)?;
    let comes = Contents::small_file(fetcher, &selected.1, name.as_bytes(), FILE_LIMIT)?;
    let is_same = fs::read(work.home().join(name)).is_ok_and(|here| here == comes);
    (!is_same).then_some(comes)
}

/// The compose file that will be there: the new one, or the one that is.
fn file_to_be(work: &Work<'_>, comes: Option<&[u8]>) -> Option<ComposeFile> {
    match comes {
        Some(text) => ComposeFile::parse(text),
        None => {
            let path =
                COMPOSE_FILES.iter().map(|name| work.home().join(name)).find(|one| one.exists())?;
            ComposeFile::parse(&fs::read(path).ok()?)
        }
    }
}

/// How databases come in.
fn mode(
    work: &Work<'_>,
    stack: Option<&Stack>,
    comes: Option<&[u8]>,
    names: &[String],
    options: &HomeOptions,
) -> Result<Mode, HomeError> {
    if names.is_empty() {
        return Ok(Mode::Files);
    }
    if options.new_server {
        return Ok(Mode::NewServer);
    }
    let reached = work.cluster().and_then(|cluster| {
        if let Some(cluster) = cluster {
            cluster.maintenance("")?;
        }
        Ok(())
    });
    let Err(error) = reached else { return Ok(Mode::Beside) };
    let Some(stack) = stack else { return Err(error) };
    if let Some(container) = stack.database() {
        return Err(HomeError::refused(
            error.to_string(),
            format!(
                "start it: docker start {}; or, if its files are lost, begin a new cluster: --new-server",
                container.name
            ),
        ));
    }
    // Nothing that could be lost: a machine on which it never ran.
    let server = settings_service(work);
    let place = file_to_be(work, comes)
        .and_then(|file| file.server(server.as_deref())?.1.cluster(work.home()));
    let is_empty = match &place {
        Some(ClusterPlace::Directory(path)) => {
            fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none())
        }
        _ => true,
    };
    if is_empty {
        return Ok(Mode::NewServer);
    }
    Err(HomeError::refused(
        error.to_string(),
        "start the database server (docker compose up -d SERVICE); or begin a new cluster: --new-server",
    ))
}

fn settings_service(work: &Work<'_>) -> Option<String> {
    let container = work.instance.postgres.as_ref()?.container.as_ref()?;
    Some(container.value.service.clone())
}

/// The database's service; refuses an image of another PostgreSQL on the files of this one.
fn check_server(
    work: &Work<'_>,
    stack: Option<&Stack>,
    comes: Option<&[u8]>,
    mode: Mode,
) -> Result<Option<String>, HomeError> {
    let file = file_to_be(work, comes);
    let server = settings_service(work);
    let found = file.as_ref().and_then(|file| file.server(server.as_deref()));
    if mode == Mode::NewServer {
        let name = server.or_else(|| found.map(|(name, _)| name.to_owned()));
        return name.map(Some).ok_or_else(|| {
            HomeError::refused(
                "no compose service is known to have the database server, so none can be started",
                "say it in the configuration: container = { service = \"postgres\" }",
            )
        });
    }
    let running = stack.and_then(Stack::database);
    if let (Some(running), Some((name, service)), Some(_)) = (running, found, comes)
        && let Some(image) = service.image.as_deref().filter(|image| *image != running.image)
    {
        return Err(HomeError::refused(
            format!(
                "the snapshot's compose file has image `{image}` for service `{name}`, and `{}` runs on these files",
                running.image
            ),
            "--keep-compose leaves the file that is there; --new-server begins a new cluster for that image",
        ));
    }
    Ok(None)
}

/// The directory of the old cluster, which goes aside.
fn cluster_item(
    work: &Work<'_>,
    comes: Option<&[u8]>,
    service: Option<&str>,
) -> Result<Option<Item>, HomeError> {
    let file = file_to_be(work, comes);
    let place = file.as_ref().and_then(|file| file.server(service)?.1.cluster(work.home()));
    match place {
        Some(ClusterPlace::Directory(path)) => match path.strip_prefix(work.home()) {
            Ok(relative) => Ok(Some(Item { path: relative.to_owned(), comes: false })),
            Err(_) => Err(HomeError::refused(
                format!(
                    "the cluster lies in {}, outside the home, and cannot be put aside",
                    path.display()
                ),
                format!("move it away yourself: mv {0} {0}.old", path.display()),
            )),
        },
        // A container that is there may have its cluster in a volume.
        Some(ClusterPlace::Elsewhere) | None => Ok(None),
    }
}

/// Whether all can be exchanged by renames.
fn check_items(work: &Work<'_>, journal: &Journal, items: &[Item]) -> Result<(), HomeError> {
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev()).ok();
    let nearest = |path: &Path| path.ancestors().find_map(device);
    let base = nearest(journal.base());
    let real = work.home().canonicalize().unwrap_or_else(|_| work.home().to_owned());
    for item in items {
        let live = work.home().join(&item.path);
        let place = live.display();
        if device(&live).is_some_and(|own| Some(own) != base) {
            return Err(HomeError::refused(
                format!(
                    "{place} is on another file system than the home, and cannot be exchanged by a rename"
                ),
                format!(
                    "restore it by itself: mrs-backup restore SNAPSHOT {place} --path {}",
                    item.path.display()
                ),
            ));
        }
        let parent = live.parent().and_then(|parent| parent.canonicalize().ok());
        if parent.is_some_and(|parent| !parent.starts_with(&real)) {
            return Err(HomeError::refused(
                format!("{place} leads out of the home by a symbolic link"),
                "name the place itself in `paths`",
            ));
        }
    }
    Ok(())
}

/// The files of the snapshot, into the directory beside.
fn files(
    work: &Work<'_>,
    repository: &Repository,
    selected: &Selected,
    items: &[Item],
    incoming: &Path,
) -> Result<(RestorePlan, bool), HomeError> {
    let include = items.iter().filter(|item| item.comes).map(|item| exactly(&item.path)).collect();
    let options = RestoreOptions {
        include,
        overwrite: Overwrite::IfChanged,
        delete: false,
        verify: true,
        metadata_of_kept: true,
        ..RestoreOptions::default()
    };
    let shares = work.home().is_dir() && reflink::may_share(work.home());
    let (id, snapshot) = selected.clone();
    // What is shared takes no room, and is compared with what is live.
    let seen = if shares { work.home() } else { incoming };
    let mut plan = restore::plan(repository, id, snapshot, seen, options, &work.stop)?;
    incoming.clone_into(&mut plan.target);
    Ok((plan, shares))
}

/// A pattern that fits this path alone.
fn exactly(path: &Path) -> String {
    let mut text = String::from("/");
    for letter in path.to_string_lossy().chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

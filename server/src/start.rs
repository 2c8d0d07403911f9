//! From the command line to a server that accepts connections.

use crate::acl::{self, Acl};
use crate::admin::migrate::Connections;
use crate::client::Clients;
use crate::command::ServerCommand;
use crate::config::command_line::{self, Start};
use crate::config::{self, CommandLine, Config, FatalError};
use crate::log::{self, Level};
use crate::net::listener::{self, Acceptor, ListenError, Listeners, Rebind};
use crate::net::runtime::{Runtime, RuntimeHandle};
use crate::net::tls::{self, Tls};
use crate::observe::Observe;
use crate::observe::monitor::Monitors;
use crate::oom_score::OomScore;
use crate::pubsub::{self, hub::Hub};
use crate::server::{Measured, Server};
use crate::session::pause::Pause;
use crate::settings::{Published, Settings};
use crate::stats::Stats;
use crate::table::Table;
use crate::{admin, allocator, daemon, maintenance, scripting, session, signals, storage, supervise, title};
use parking_lot::Mutex;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};

/// A message for standard error; there is nobody to tell if that fails.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs what the command line asks for.
pub(crate) fn run(args: &[Vec<u8>]) -> ExitCode {
    match command_line::parse(args) {
        Start::Version => {
            say(&format!("Firn server v={} (Redis {})\n", env!("CARGO_PKG_VERSION"), session::REDIS_VERSION))
        }
        Start::Help => say(&config::docs::help()),
        Start::CheckSystem => {
            say("No checks of the system are needed: Firn neither forks nor depends on huge pages.\n")
        }
        Start::CheckConfig(line) => match check(&line) {
            Ok(()) => say("The configuration is right.\n"),
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        },
        Start::TestMemory => {
            complain("--test-memory is not part of Firn; use memtester or memtest86+.");
            ExitCode::FAILURE
        }
        Start::Run(line) => match serve(&line) {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Config(error)) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
            Err(Failure::Logged) => ExitCode::FAILURE,
        },
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Why the server does not start.
enum Failure {
    /// The configuration; not yet told.
    Config(FatalError),
    /// Anything else; the log has it.
    Logged,
}

/// Logs why the server does not start.
fn abort(message: std::fmt::Arguments<'_>) -> Failure {
    log::warning(message);
    Failure::Logged
}

/// Reads a configuration as a start does, and everything that it names but the data; nothing is changed.
fn check(line: &CommandLine) -> Result<(), FatalError> {
    if line.file.is_none() && !line.stdin {
        return Err(FatalError { place: None, reason: "--check-config needs a file, or - for standard input".into() });
    }
    let wrong = |reason: String| FatalError { place: None, reason };
    let mut config = config::load(line, &mut std::io::stdin().lock())?;
    let commands = command_table(&config)?;
    config.enter_dir().map_err(|error| wrong(format!("Can't chdir to '{}': {error}", config.path("dir").display())))?;
    users(&config, &commands).map_err(|failure| match failure {
        Failure::Config(error) => error,
        Failure::Logged => wrong("The aclfile is not right: see above.".into()),
    })?;
    tls::configure(&config).map_err(wrong)?;
    Ok(())
}

fn serve(line: &CommandLine) -> Result<(), Failure> {
    let started = Instant::now();
    die_of_panics();
    let executable = std::env::current_exe().unwrap_or_default();
    let mut config = config::load(line, &mut std::io::stdin().lock()).map_err(Failure::Config)?;
    let commands = command_table(&config).map_err(Failure::Config)?;
    crate::observe::command_log::learn_names(&commands);
    set_up_log(&config).map_err(Failure::Config)?;
    let daemonize = config.bool("daemonize");
    if daemonize {
        daemon::daemonize().map_err(|error| abort(format_args!("Cannot go into the background: {error}")))?;
    }
    // Only now: a fork leaves threads behind. Where jemalloc cannot, it works as before, with longer pauses.
    let _ = allocator::start_background_thread();
    config
        .enter_dir()
        .map_err(|error| abort(format_args!("Can't chdir to '{}': {error}", config.path("dir").display())))?;
    supervise::begin(config.choice("supervised"));
    greet(&config);
    let acl = users(&config, &commands)?;
    let oom_score = OomScore::default();
    oom_score.apply(&config).map_err(|reason| abort(format_args!("oom-score-adj: {reason}")))?;

    let mut settings = config.settings();
    let room = daemon::raise_open_files(settings.maxclients);
    if room < settings.maxclients {
        log::warning(format_args!(
            "The limit of open files allows {room} clients, not the {} of maxclients. Raise it with 'ulimit -n'.",
            settings.maxclients
        ));
        settings.maxclients = room;
        // CONFIG GET tells what holds.
        if let Ok((clamped, _)) = config.changed(&[(b"maxclients", room.to_string().as_bytes())], true) {
            config = clamped;
        }
    }
    let new_tls = tls::configure(&config).map_err(|reason| abort(format_args!("Failed to configure TLS: {reason}")))?;
    let listeners = listener::listen(&settings).map_err(|error| {
        if let ListenError::Unix { path, source } = &error {
            return abort(format_args!("Failed opening Unix socket: {path}: {source}"));
        }
        log::warning(format_args!("{error}"));
        abort(format_args!("Failed listening on port {} (TCP), aborting.", error.port().unwrap_or(settings.port)))
    })?;
    supervise::status("Loading");
    let store = storage::open(&config).map_err(|error| abort(format_args!("The store cannot be opened: {error}")))?;
    let store: &'static Arc<_> = Box::leak(Box::new(Arc::new(store)));
    let seed = store.lock().keyspace.seed();
    let pidfile = config.path("pidfile");
    let script_memory = config.size("script-memory-limit");
    let config_file = config.file().map(std::path::Path::to_path_buf).unwrap_or_default();
    let store_folder = config.path("dir").join(config.path("appenddirname"));
    let server = Arc::new(Server {
        store,
        seed,
        observe: Observe::new(&config),
        monitors: Monitors::default(),
        config: config.into(),
        settings: Published::new(settings.clone()),
        commands,
        acl,
        pause: Pause::default(),
        oom_score,
        clients: Clients::default(),
        stats: Stats::default(),
        runtimes: OnceLock::new(),
        tls: Tls::default(),
        rebind: Rebind::default(),
        migrating: Connections::default(),
        run_id: run_id(),
        executable,
        config_file,
        store_folder,
        seen_status: Mutex::default(),
        started,
        scripting: Box::leak(Box::default()),
        log_accepts: 0.into(),
        paused_ticks: false.into(),
        memory: Measured::default(),
    });
    server.tls.publish(new_tls);
    server.scripting.set_memory_limit(script_memory);
    scripting::load_libraries(&server);
    maintenance::measure_memory(&server);
    server.give_meter();
    *server.seen_status.lock() = Some(server.store.status());
    log::notice(format_args!("Server initialized"));
    title::show(&server.config.lock());
    if !pidfile.as_os_str().is_empty()
        && let Err(error) = daemon::write_pid(&pidfile)
    {
        log::warning(format_args!("Cannot write the process id to {}: {error}", pidfile.display()));
    }
    run_runtimes(&server, &settings, listeners)
}

/// A panic is a defect, and may have left a change half made: nothing more is served or written after it. What was acknowledged is in
/// the log, and the next start finds it.
fn die_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        let trace = std::backtrace::Backtrace::force_capture();
        log::warning(format_args!(
            "A defect of Firn ends the server; please report it. Thread {thread}: {panic}\n{trace}"
        ));
        std::process::abort();
    }));
}

/// Every command of the server.
pub(crate) fn server_commands() -> impl Iterator<Item = &'static ServerCommand> {
    session::COMMANDS
        .iter()
        .chain(pubsub::COMMANDS)
        .chain(admin::COMMANDS)
        .chain(scripting::COMMANDS)
        .copied()
        .chain([&acl::ACL])
}

/// The users of the ACL file or of the configuration's lines.
fn users(config: &Config, commands: &Table) -> Result<Acl, Failure> {
    let grammar = acl::Grammar { catalog: commands.catalog(), all_channels: acl::opens_channels(config) };
    let file = config.path("aclfile");
    if file.as_os_str().is_empty() {
        let users = acl::file::configured(config, grammar).map_err(Failure::Config)?;
        return Ok(Acl::new(users, config));
    }
    if !config.users().is_empty() {
        return Err(abort(format_args!(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This setup is \
             very likely to lead to configuration errors and security holes, please define either an ACL file or declare users \
             directly in your redis.conf, but not both."
        )));
    }
    let mut users = acl::file::load(&file, grammar)
        .map_err(|errors| abort(format_args!("Aborting Redis startup because of ACL errors: {errors}")))?;
    if !users.iter().any(|user| &user.name[..] == b"default") {
        if !config.bytes("requirepass").is_empty() {
            log::warning(format_args!(
                "requirepass is ignored with an aclfile, and the file says nothing of the default user: it has no password."
            ));
        }
        users.push(acl::file::default_user(commands.catalog().len(), b""));
    }
    Ok(Acl::new(users, config))
}

/// Every command, under the names that `rename-command` gives them.
fn command_table(config: &Config) -> Result<Table, FatalError> {
    let mut renames = Vec::new();
    let table = |renames: &[(Vec<u8>, Vec<u8>)]| {
        let data = firn_engine::command::table::commands().iter().copied();
        Table::new(data, server_commands(), renames)
    };
    for rename in config.renames() {
        renames.push((rename.from.clone(), rename.to.clone()));
        if let Err(error) = table(&renames) {
            return Err(FatalError { place: Some(rename.place.clone()), reason: error.to_string() });
        }
    }
    table(&renames).map_err(|error| FatalError { place: None, reason: error.to_string() })
}

/// The level that `loglevel` names.
pub(crate) fn level(name: &str) -> Level {
    match name {
        "debug" => Level::Debug,
        "verbose" => Level::Verbose,
        "warning" => Level::Warning,
        "nothing" => Level::Nothing,
        _ => Level::Notice,
    }
}

fn set_up_log(config: &Config) -> Result<(), FatalError> {
    log::set_level(level(config.choice("loglevel")));
    let path = config.logfile();
    log::set_file(&path).map_err(|error| FatalError {
        place: None,
        reason: format!("Can't open the log file {}: {error}", path.display()),
    })
}

/// The first lines of the log.
fn greet(config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    if std::io::stdout().is_terminal() && config.path("logfile").as_os_str().is_empty() {
        // A person is looking.
        say(&format!("\n    Firn {version}\n    durable, and speaks Redis {}\n\n", session::REDIS_VERSION));
    }
    log::notice(format_args!("Firn {version} is starting, PID: {}", std::process::id()));
    match config.file() {
        Some(file) => log::notice(format_args!("Configuration loaded from {}", file.display())),
        None => log::notice(format_args!("No configuration file: defaults and the command line")),
    }
    for (name, reason) in config.notices() {
        log::notice(format_args!("The directive {name} has no effect: {reason}"));
    }
}

/// 40 random hexadecimal digits.
fn run_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let mut id = String::new();
    while id.len() < 40 {
        id.push_str(&format!("{:016x}", RandomState::new().hash_one(id.len())));
    }
    id.truncate(40);
    id
}

fn new_runtime() -> std::io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Serves until the process ends.
fn run_runtimes(server: &Arc<Server>, settings: &Settings, listeners: Listeners) -> Result<(), Failure> {
    let handles: Vec<Arc<RuntimeHandle>> =
        (0..settings.io_threads.max(1)).map(|number| Arc::new(RuntimeHandle::new(number))).collect();
    // Nobody else sets them.
    let _ = server.runtimes.set(handles.clone().into());
    let mut engine = server.store.lock();
    engine.receiver = Some(Box::new(Hub::new(&handles)));
    admin::apply::apply_to_engine(&mut engine, &server.config.lock());
    drop(engine);
    let progress = handles.clone();
    server.store.on_progress(Box::new(move || progress.iter().for_each(|handle| handle.signal())));
    for (at, handle) in handles.iter().enumerate().skip(1) {
        let (server, handle) = (server.clone(), handle.clone());
        let runtime = new_runtime().map_err(|error| abort(format_args!("Cannot start a network thread: {error}")))?;
        drop(runtime); // It cannot be sent to the thread; that one can be made was seen.
        std::thread::Builder::new()
            .name(format!("net-{at}"))
            .spawn(move || match new_runtime() {
                Ok(runtime) => {
                    let ours = Runtime::new(server, handle);
                    runtime.block_on(async {
                        tokio::task::spawn_local(ours.clone().run_maintenance(false));
                        ours.run_committer().await;
                    });
                }
                Err(error) => {
                    log::warning(format_args!("Cannot start a network thread: {error}"));
                    std::process::exit(1);
                }
            })
            .map_err(|error| abort(format_args!("Cannot start a network thread: {error}")))?;
    }
    let runtime = new_runtime().map_err(|error| abort(format_args!("Cannot start the network thread: {error}")))?;
    let ours = Runtime::new(server.clone(), handles[0].clone());
    runtime.block_on(async {
        let result = (|| {
            tokio::task::spawn_local(ignore_hang_up(signal(SignalKind::hangup())?));
            tokio::task::spawn_local(signals::end_on(server.clone(), signals::listen()?));
            Acceptor::start(ours.clone(), handles, listeners)
        })();
        let acceptor =
            result.map_err(|error: std::io::Error| abort(format_args!("Cannot accept connections: {error}")))?;
        tokio::task::spawn_local(acceptor.run_rebind());
        tokio::task::spawn_local(ours.clone().run_maintenance(true));
        if settings.port != 0 {
            log::notice(format_args!("Ready to accept connections tcp"));
        }
        if settings.tls_port != 0 {
            log::notice(format_args!("Ready to accept connections tls"));
        }
        if let Some(path) = &settings.unixsocket {
            log::notice(format_args!("Ready to accept connections unix: {}", path.display()));
        }
        supervise::ready();
        tokio::task::spawn_local(ours.run_committer());
        std::future::pending::<Result<(), Failure>>().await
    })
}

async fn ignore_hang_up(mut hang_up: tokio::signal::unix::Signal) {
    while hang_up.recv().await.is_some() {}
}

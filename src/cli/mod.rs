//! The command `iris`. Owns its subcommands, their words and their exit codes; all knowledge of mounts, Tier 0
//! and files is the library's.

mod bench;
mod check;
mod config;
mod crawl;
mod fsck;
mod library;
mod pages;
mod run;
mod say;
mod settings;
mod signals;
mod tier0;
mod which;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Storage at the speed of the nearest, for unmodified programs.
#[derive(Parser, Debug)]
#[command(name = "iris", version, about, long_about = ABOUT, after_long_help = MORE, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

const ABOUT: &str = "Storage at the speed of the nearest, for unmodified programs.\n\n\
    Programs that run under Iris see an accelerated directory (a mount) exactly as before; their small writes are \
    staged in memory and reach the files in large ones.";

const MORE: &str = "Examples:\n  \
    iris run --mount /data -- ./app input.nc     accelerate /data for one program\n  \
    iris check ./app                             will it be intercepted?\n  \
    iris status                                  what is staged now\n  \
    iris config                                  what is in force, and from where\n\n\
    Without the command: IRIS_MOUNT=/data LD_PRELOAD=/path/to/libiris.so ./app\n\n\
    Variables: IRIS_MOUNT, IRIS_CONFIG, IRIS_DISABLE, IRIS_LIBRARY, and one for each key of the configuration \
    (`iris config --default` lists them).";

#[derive(Subcommand, Debug)]
enum Subcommands {
    /// Run a program under Iris
    #[command(long_about = RUN, after_long_help = RUN_MORE)]
    Run(run::RunArgs),
    /// Tell whether a program will be intercepted, and what to do if not
    #[command(long_about = CHECK, after_long_help = CHECK_MORE)]
    Check(check::CheckArgs),
    /// Show the configuration in force and where each value came from
    #[command(after_long_help = CONFIG_MORE)]
    Config(config::ConfigArgs),
    /// Show what is staged: mounts, files, the oldest, and how full Tier 0 is
    #[command(after_long_help = STATUS_MORE)]
    Status(tier0::StatusArgs),
    /// Take home what killed processes left in Tier 0
    #[command(long_about = DRAIN, after_long_help = DRAIN_MORE)]
    Drain(tier0::DrainArgs),
    /// Load the names of a mount on a shared store ahead, and what has changed of them
    #[command(long_about = CRAWL, after_long_help = CRAWL_MORE)]
    Crawl(crawl::CrawlArgs),
    /// Find what is wrong with a mount whose home is a store, and delete what is nobody's
    #[command(long_about = FSCK, after_long_help = FSCK_MORE)]
    Fsck(fsck::FsckArgs),
    /// Measure what placement costs and gains on this machine and its stores
    #[command(long_about = BENCH, after_long_help = BENCH_MORE)]
    Bench(bench::BenchArgs),
    /// Carry out the requests of traces on a file; `iris bench` starts this
    #[command(hide = true)]
    Replay(bench::replay::ReplayArgs),
    /// Print shell completions
    #[command(
        after_long_help = "Example:\n  iris completions bash > ~/.local/share/bash-completion/completions/iris"
    )]
    Completions(pages::CompletionsArgs),
    /// Print the man page, or write all of them
    #[command(after_long_help = "Example:\n  iris man --dir ~/.local/share/man/man1")]
    Man(pages::ManArgs),
}

const RUN: &str = "Run a program under Iris.\n\n\
    The configuration is checked first. The program is started with libiris.so in LD_PRELOAD (after what is there \
    already) and with the configuration in IRIS_ variables, so that the programs it starts are under Iris too. \
    Signals are passed on to it. What it leaves behind when it is killed is brought home at the end.";

const RUN_MORE: &str = "Examples:\n  \
    iris run --mount /data -- make -j8\n  \
    iris run --mount /data,threshold=16KiB --mount /scratch -- ./app\n  \
    iris run --mount /data --set tier0.memory=1GiB --report /tmp/report -- mpirun -np 4 ./app\n\n\
    Exit codes: the command's own; 128+N when signal N killed it; 127 not found, 126 not executable; 2 the \
    configuration or the options are wrong; 125 the system could not start it; 3 the command ended well, but some \
    of what it staged could not be brought home.";

const CHECK: &str = "Tell whether a program will be intercepted, and what to do if not.\n\n\
    Iris is loaded by the dynamic linker and sees the calls that a program makes through glibc. It cannot see \
    programs that are statically linked, that gain rights when they start (setuid, setgid, file capabilities), that \
    are made by Go or for musl or for another architecture, nor system calls made with instructions of their own. \
    Scripts are judged by their interpreter.";

const CHECK_MORE: &str = "Examples:\n  \
    iris check ./app\n  \
    iris check --json fio\n\n\
    Exit codes: 0 it will be intercepted; 3 in part; 1 not at all; 2 it cannot be judged (no such program, damaged).";

const CONFIG_MORE: &str = "Examples:\n  \
    iris config\n  \
    iris config --mount /data --set threshold=16KiB     what a run with these options would have\n  \
    iris config --default > iris.toml                    a file to start from\n\n\
    Exit codes: 0; 2 the configuration is wrong.";

const STATUS_MORE: &str = "Examples:\n  \
    iris status\n  \
    IRIS_MOUNT=/data iris status --json\n\n\
    Exit codes: 0; 1 the pool cannot be read; 2 the configuration is wrong.";

const DRAIN: &str = "Take home what killed processes left in Tier 0.\n\n\
    A process that is killed leaves its staged bytes in Tier 0; so does any process under `settle = \"drain\"`. \
    The next open of such a file under Iris takes them home, and so does this. Files that a living process is \
    writing are left to it.";

const DRAIN_MORE: &str = "Examples:\n  \
    iris drain                 everything of this user on this node\n  \
    iris drain /data/run7      only what is staged for files there\n\n\
    Exit codes: 0 all is home (or left to a living process); 1 something could not be taken home, and the output \
    says what to do; 2 the configuration is wrong.";

const CRAWL: &str = "Load the names of a mount on a shared store (redis:, s3:) ahead, and what has changed of them.\n\n\
    Programs get the names, lengths, times and modes of what is in a store when they first ask for them. This asks for \
    all of them at once, so that programs need not wait; no bytes of files are copied. Run again, it picks up what others \
    have made, changed and removed since, and counts it.";

const CRAWL_MORE: &str = "Examples:\n  \
    iris crawl /virt --mount /virt=s3://bucket/prefix\n  \
    iris crawl /virt runs/7 runs/8      only what is there\n\n\
    Exit codes: 0 all is loaded, or there is nothing to load; 1 something could not be; 2 the configuration is wrong, or \
    Tier 0 cannot be used.";

const FSCK: &str = "Find what is wrong with a mount whose home is a store (kv:, redis:, s3:).\n\n\
    What the store has is held against the mount's names: objects that no file has, left by removals and crashes; objects \
    that the index of a file names and that are missing; indexes that are damaged; and what is left of files on this node. \
    Programs may run meanwhile. With --repair what is nobody's is deleted; what some process may be using is not. Whether \
    a process of another node is using something cannot be told: such things are only shown, unless --unused says that \
    no program uses the home.";

const FSCK_MORE: &str = "Examples:\n  \
    iris fsck /virt --mount /virt=kv:/scratch/store\n  \
    iris fsck /virt --repair              delete what is nobody's\n  \
    iris fsck /virt --repair --unused     the same, when nothing uses the home on any node\n\n\
    Exit codes: 0 nothing is wrong; 1 something is, or was before it was put right; 2 it could not be looked at (the \
    configuration is wrong, the store does not answer).";

const BENCH: &str = "Measure what placement costs and gains on this machine and its stores.\n\n\
    Mapping alone; files on objects, every mapper against one object a file; objects in files, every container mapper \
    against a file an object; traces; placement on a directory, a store and both; and a workflow of two programs, by \
    copying and in place. Every byte is compared. Nothing is kept: a folder in --dir, and objects whose \
    keys begin with iris-bench:, are made and removed.";

const BENCH_MORE: &str = "Examples:\n  \
    iris bench mapping\n  \
    iris bench files --store redis+unix:///run/redis.sock --plots plots\n  \
    iris bench objects --dir /scratch --size 1GiB\n  \
    iris bench traces --trace run1.csv --trace run2.csv --json\n  \
    iris bench placement workflow --directory /pfs --store redis+unix:///run/redis.sock\n\n\
    Exit codes: 0; 1 something could not be measured, or a byte was wrong; 2 the options are wrong.";

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Subcommands::Run(args) => run::main(args),
        Subcommands::Check(args) => check::main(args),
        Subcommands::Config(args) => config::main(args),
        Subcommands::Status(args) => tier0::status(args),
        Subcommands::Drain(args) => tier0::drain(args),
        Subcommands::Crawl(args) => crawl::main(args),
        Subcommands::Fsck(args) => fsck::main(args),
        Subcommands::Bench(args) => bench::main(args),
        Subcommands::Replay(args) => bench::replay::main(args),
        Subcommands::Completions(args) => pages::completions(args),
        Subcommands::Man(args) => pages::man(args),
    };
    match result.and_then(|(text, code)| say::print(&text).map(|()| code)) {
        Ok(code) => code,
        Err(failure) => {
            say::complain(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

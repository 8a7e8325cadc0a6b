//! The command `iris`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}

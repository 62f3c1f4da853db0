// Package commands is what programs of several commands share: each command has flags of its own,
// and how it ended is the exit status.
//
// It knows command lines, signals and exit statuses. It must not know what a command does.
package commands

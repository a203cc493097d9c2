/*
 * The state directory: where it is by default, making it, and the lock that
 * lets one supervisor at a time use it.
 */
#ifndef SUPERVISOR_STATE_DIR_H
#define SUPERVISOR_STATE_DIR_H

#include <stdbool.h>
#include <sys/types.h>

/* What the default depends on; NULL where a variable is not set. Borrowed. */
struct state_dir_env {
	const char *state_directory; /* $STATE_DIRECTORY */
	const char *xdg_state_home;  /* $XDG_STATE_HOME */
	const char *home;	     /* $HOME */
	bool is_root;
};

/*
 * Returns the state directory where no file gives one: the first of
 * $STATE_DIRECTORY (systemd separates several with ":"); else
 * /var/lib/walpipe for root; else walpipe in $XDG_STATE_HOME, or in
 * $HOME/.local/state. A relative path in these is as if it were not set. The
 * caller frees it. NULL: none of them tells.
 */
char *state_dir_default(const struct state_dir_env *env);

/*
 * Makes a directory and those above it, mode 0700, where they do not exist.
 * Returns 0, or -1 with errno set.
 */
int state_dir_make(const char *path);

/*
 * Makes the directory `path` and all that is in it the property of `uid` and
 * `gid`, if it is not yet: of the user as whom its owner runs from now on. With
 * a `gid` of -1 the groups stay what they are.
 * Symbolic links are not followed, files with several names are left as they
 * are. Returns 0, or -1 with errno set.
 */
int state_dir_give(const char *path, uid_t uid, gid_t gid);

/* Lets the group `gid` pass through the directory `path` to what is in it, and
 * nothing more. Returns 0, or -1 with errno set. */
int state_dir_let_pass(const char *path, gid_t gid);

enum state_dir_lock {
	STATE_DIR_LOCKED, /* it is ours */
	STATE_DIR_BUSY,	  /* another supervisor runs */
	STATE_DIR_LEFT,	  /* no supervisor runs, but stages of one remain */
	STATE_DIR_FAILED, /* errno says why */
};

/*
 * Takes the lock of the state directory `path`, the file LOCK in it, and
 * writes our pid there. Where the holder that the file names has ended, its
 * stages are about to end too: waits for them up to 2 s. STATE_DIR_LOCKED sets
 * *fd, which the caller keeps open; BUSY and LEFT set *holder to the pid in the
 * file, which may be 0 for BUSY: another has it, and could not say who it is.
 */
enum state_dir_lock state_dir_lock(const char *path, int *fd, pid_t *holder);

#endif

#include "supervisor/supervisor.h"

#include "stage/loop.h"
#include "stage/mem.h"
#include "supervisor/chain.h"
#include "supervisor/child.h"
#include "supervisor/state_dir.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * One wish to stop may come as two signals: timeout(1) signals its child and
 * then the group that both are in, and so do some terminals and shells. Within
 * this time they count as one.
 */
#define SAME_WISH_NS (LOOP_NS_PER_S / 4)

enum supervisor_life {
	SUPERVISOR_RUNNING,
	SUPERVISOR_STOPPING, /* each chain stops in order */
	SUPERVISOR_KILLING,  /* each stage was killed */
	SUPERVISOR_DONE,     /* no stage runs */
	SUPERVISOR_LIVES,
};

static const char *const life_names[] = {
    [SUPERVISOR_RUNNING] = "running",
    [SUPERVISOR_STOPPING] = "stopping",
    [SUPERVISOR_KILLING] = "killing",
    [SUPERVISOR_DONE] = "done",
};
_Static_assert(sizeof(life_names) / sizeof(life_names[0]) == SUPERVISOR_LIVES,
    "a name is missing");

struct supervisor {
	enum supervisor_life life;
	enum exitcode exitcode; /* what it will end with */
	int64_t stop_ns;	/* when it was first told to stop */
	const struct config *config;
	const char *log_file;
	struct journal *journal;
	struct loop loop;
	struct chain_shared shared;
	struct chain *chains; /* owned */
	size_t count;
};

/* Changes the life, here only, and says why. */
static void
enter(struct supervisor *s, enum supervisor_life life, const char *why)
{
	if (life == s->life)
		return;
	s->life = life;
	journal_say(s->journal, LOG_INFO, "%s: %s", life_names[life], why);
}

static void
stop(struct supervisor *s, const char *why)
{
	enter(s, SUPERVISOR_STOPPING, why);
	for (size_t i = 0; i < s->count; i++)
		chain_stop(&s->chains[i]);
}

static void
kill_all(struct supervisor *s, const char *why)
{
	s->exitcode = EXITCODE_AGAIN;
	enter(s, SUPERVISOR_KILLING, why);
	for (size_t i = 0; i < s->count; i++)
		chain_kill(&s->chains[i]);
}

static void
reopen_log(struct supervisor *s)
{
	if (s->log_file == NULL)
		journal_say(s->journal, LOG_DEBUG,
		    "SIGUSR1: there is no log file to open anew");
	else if (journal_open_file(s->journal, s->log_file) == -1)
		journal_say(s->journal, LOG_ERROR,
		    "cannot open the log file %s anew: %m", s->log_file);
	else
		journal_say(s->journal, LOG_INFO, "log file opened anew");
}

static void
take_signal(struct supervisor *s, int number)
{
	switch (number) {
	case SIGTERM:
	case SIGINT:
		if (s->stop_ns == 0)
			s->stop_ns = loop_now_ns();
		if (s->life == SUPERVISOR_RUNNING)
			stop(s, number == SIGTERM ? "SIGTERM" : "SIGINT");
		else if (loop_now_ns() - s->stop_ns >= SAME_WISH_NS)
			kill_all(s, "a second signal");
		return;
	case SIGHUP:
		journal_say(s->journal, LOG_WARN,
		    "SIGHUP: reload is not built yet; the configuration stays "
		    "as it was read");
		return;
	case SIGUSR1:
		reopen_log(s);
		return;
	default:
		return;
	}
}

/* Tells the chains which of their stages have ended. */
static void
reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = child_reap(&status)) != 0)
		for (size_t i = 0; i < s->count; i++)
			if (chain_ended(&s->chains[i], pid, status))
				break;
}

/* Looks at what the chains have come to. */
static void
judge(struct supervisor *s)
{
	bool has_failed = false, is_done = true;

	for (size_t i = 0; i < s->count; i++) {
		has_failed = has_failed || s->chains[i].has_failed;
		is_done = is_done && s->chains[i].life == CHAIN_DONE;
	}
	if (has_failed) {
		s->exitcode = EXITCODE_FINAL;
		if (s->life == SUPERVISOR_RUNNING)
			stop(s, "a stage has failed for good");
	}
	if (is_done)
		enter(s, SUPERVISOR_DONE, "no stage runs any more");
}

static int
turn(struct supervisor *s)
{
	int number;

	loop_begin(&s->loop);
	for (size_t i = 0; i < s->count; i++)
		chain_watch(&s->chains[i], &s->loop);
	if (loop_wait(&s->loop) == -1)
		return -1;
	while ((number = loop_signal(&s->loop)) != 0)
		take_signal(s, number);
	/* Logs first: a stage's last words stand before its end. */
	for (size_t i = 0; i < s->count; i++)
		chain_read_logs(&s->chains[i]);
	reap(s);
	for (size_t i = 0; i < s->count; i++)
		chain_turn(&s->chains[i], loop_now_ns());
	judge(s);
	return 0;
}

/* Takes the state directory. Returns whether to go on; else *exitcode is what
 * to end with. */
static bool
take_state_dir(struct supervisor *s, enum exitcode *exitcode)
{
	const char *path = s->shared.state_dir;
	pid_t holder;

	*exitcode = EXITCODE_AGAIN;
	if (state_dir_make(path) == -1) {
		journal_say(s->journal, LOG_ERROR,
		    "cannot make the state directory %s: %m", path);
		return false;
	}
	switch (state_dir_lock(path, &s->shared.lock_fd, &holder)) {
	case STATE_DIR_LOCKED:
		return true;
	case STATE_DIR_BUSY:
		/* Quiet: this is how a line in a crontab keeps it running. */
		journal_say(s->journal, LOG_DEBUG,
		    "supervisor %d runs already with %s", (int)holder, path);
		*exitcode = EXITCODE_DONE;
		return false;
	case STATE_DIR_LEFT:
		journal_say(s->journal, LOG_ERROR,
		    "%s/LOCK: supervisor %d has ended, but its stages still "
		    "hold the lock",
		    path, (int)holder);
		return false;
	case STATE_DIR_FAILED:
		break;
	}
	journal_say(s->journal, LOG_ERROR, "cannot lock %s/LOCK: %m", path);
	return false;
}

/* Sets up signals: the stages get the mask as it was before. */
static int
open_loop(struct supervisor *s)
{
	static const int signals[] = {
	    SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
	struct sigaction fallback = {.sa_handler = SIG_DFL};

	if (sigprocmask(SIG_BLOCK, NULL, &s->shared.mask) == -1)
		return -1;
	/* Ignored, as some parents leave it, no child could be waited for. */
	if (sigaction(SIGCHLD, &fallback, NULL) == -1)
		return -1;
	return loop_open(
	    &s->loop, signals, sizeof(signals) / sizeof(signals[0]));
}

static void
open_chains(struct supervisor *s, const struct command_context *context)
{
	s->count = s->config->instance_count;
	s->chains = mem_calloc(s->count, sizeof(*s->chains));
	for (size_t i = 0; i < s->count; i++)
		chain_init(&s->chains[i], s->config->instances[i], context,
		    &s->shared);
}

static void
close_chains(struct supervisor *s)
{
	for (size_t i = 0; i < s->count; i++)
		chain_fini(&s->chains[i]);
	free(s->chains);
}

enum exitcode
supervisor_run(
    const struct supervisor_options *options, struct journal *journal)
{
	struct supervisor s = {
	    .life = SUPERVISOR_RUNNING,
	    .exitcode = EXITCODE_DONE,
	    .config = options->config,
	    .log_file = options->log_file,
	    .journal = journal,
	};
	enum exitcode exitcode;

	s.shared.journal = journal;
	s.shared.state_dir = options->context.state_dir;
	s.shared.shutdown_timeout_ns =
	    (int64_t)options->config->shutdown_timeout.number * LOOP_NS_PER_MS;
	if (!take_state_dir(&s, &exitcode))
		return exitcode;
	if (s.log_file != NULL &&
	    journal_open_file(journal, s.log_file) == -1) {
		journal_say(journal, LOG_ERROR,
		    "cannot open the log file %s: %m", s.log_file);
		return EXITCODE_FINAL;
	}
	if (open_loop(&s) == -1) {
		journal_say(journal, LOG_ERROR, "start: %m");
		return EXITCODE_AGAIN;
	}
	open_chains(&s, &options->context);
	journal_say(journal, LOG_INFO, "running: %zu instance(s), state in %s",
	    s.count, s.shared.state_dir);
	while (s.life != SUPERVISOR_DONE) {
		if (turn(&s) == 0)
			continue;
		/* The stages die with this process. */
		journal_say(journal, LOG_ERROR, "poll: %m");
		s.exitcode = EXITCODE_AGAIN;
		break;
	}
	close_chains(&s);
	loop_close(&s.loop);
	(void)close(s.shared.lock_fd);
	return s.exitcode;
}

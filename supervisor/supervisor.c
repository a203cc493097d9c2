#include "supervisor/supervisor.h"

#include "stage/loop.h"
#include "supervisor/answer.h"
#include "supervisor/fleet.h"
#include "supervisor/notify.h"
#include "supervisor/reload.h"
#include "supervisor/server.h"
#include "supervisor/state_dir.h"

#include <errno.h>
#include <fcntl.h>
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
/* How long the stages may take for the reports of a status; one that hangs is
 * told without. */
#define REPORT_NS LOOP_NS_PER_S
/* How long the last answers may take at the end. */
#define LAST_ANSWERS_NS LOOP_NS_PER_S

enum supervisor_life {
	SUPERVISOR_RUNNING,
	SUPERVISOR_STOPPING, /* each instance stops in order */
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
	const struct supervisor_options *options;
	struct journal *journal;
	struct loop loop;
	struct crew_shared shared;
	struct fleet fleet;
	int state_dir_fd;
	int64_t since_ns; /* CLOCK_REALTIME: when it started */
	bool is_up;	  /* all have begun their work once */
	struct notify notify;
	struct server server;
	/* Requests that are not answered yet, at most one of each client. */
	struct server_request owed[SERVER_CLIENTS];
	size_t owed_count;
	int64_t report_ns; /* when a status is answered at the latest; or
			    * LOOP_NEVER: none was asked for */
};

/* Changes the life, here only, and says why. */
static void
enter(struct supervisor *s, enum supervisor_life life, const char *why)
{
	if (life == s->life)
		return;
	s->life = life;
	journal_say(s->journal, LOG_INFO, "%s: %s", life_names[life], why);
	if (life == SUPERVISOR_STOPPING)
		notify_send(&s->notify, "STOPPING=1\nSTATUS=%s", why);
}

static void
stop(struct supervisor *s, const char *why)
{
	enter(s, SUPERVISOR_STOPPING, why);
	fleet_stop(&s->fleet);
}

static void
kill_all(struct supervisor *s, const char *why)
{
	s->exitcode = EXITCODE_AGAIN;
	enter(s, SUPERVISOR_KILLING, why);
	fleet_kill(&s->fleet);
}

static void
reopen_log(struct supervisor *s)
{
	const char *log_file = s->options->log_file;

	if (log_file == NULL)
		journal_say(s->journal, LOG_DEBUG,
		    "SIGUSR1: there is no log file to open anew");
	else if (journal_open_file(s->journal, log_file) == -1)
		journal_say(s->journal, LOG_ERROR,
		    "cannot open the log file %s anew: %m", log_file);
	else
		journal_say(s->journal, LOG_INFO, "log file opened anew");
}

/* Reads the configuration again. Returns the answer to who asked for it, which
 * the caller frees. */
static char *
reload(struct supervisor *s)
{
	struct reload what = {s->options->source, s->options->plan, &s->fleet};
	char *answer;

	if (s->life != SUPERVISOR_RUNNING)
		return request_error("it is stopping");
	notify_reloading(&s->notify, loop_now_ns());
	answer = reload_plan(&what, s->journal);
	notify_send(&s->notify, "READY=1");
	return answer;
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
		free(reload(s));
		return;
	case SIGUSR1:
		reopen_log(s);
		return;
	default:
		return;
	}
}

/* Answers a request that was waiting, and forgets it. */
static void
settle(struct supervisor *s, size_t index, const char *answer)
{
	server_answer(&s->server, s->owed[index].id, answer);
	s->owed[index] = s->owed[--s->owed_count];
}

/* Takes what clients ask for. */
static void
take_requests(struct supervisor *s)
{
	struct server_request request;
	char *answer;

	/* Whoever has left wants no answer. */
	for (size_t i = s->owed_count; i > 0; i--)
		if (!server_is_awaited(&s->server, s->owed[i - 1].id))
			s->owed[i - 1] = s->owed[--s->owed_count];
	while (s->owed_count < SERVER_CLIENTS &&
	       server_next(&s->server, &request)) {
		switch (request.verb) {
		case REQUEST_STATUS:
			s->owed[s->owed_count++] = request;
			if (s->report_ns != LOOP_NEVER)
				break;
			s->report_ns = loop_now_ns() + REPORT_NS;
			fleet_ask(&s->fleet);
			break;
		case REQUEST_STOP:
			s->owed[s->owed_count++] = request;
			if (s->life == SUPERVISOR_RUNNING)
				stop(s, "asked to");
			break;
		default:
			answer = reload(s);
			server_answer(&s->server, request.id, answer);
			free(answer);
			break;
		}
	}
}

/* Answers those who ask for a status, once the stages have reported. */
static void
answer_statuses(struct supervisor *s)
{
	struct answer_about about = {life_names[s->life], s->shared.state_dir,
	    s->state_dir_fd, s->since_ns};
	char *answer;

	if (s->report_ns == LOOP_NEVER ||
	    (fleet_owes_report(&s->fleet) && loop_now_ns() < s->report_ns))
		return;
	s->report_ns = LOOP_NEVER;
	answer = answer_status(&s->fleet, &about);
	for (size_t i = s->owed_count; i > 0; i--)
		if (s->owed[i - 1].verb == REQUEST_STATUS)
			settle(s, i - 1, answer);
	free(answer);
}

/* Says once that all have begun their work. */
static void
tell_up(struct supervisor *s)
{
	if (s->is_up || s->life != SUPERVISOR_RUNNING ||
	    !fleet_is_up(&s->fleet))
		return;
	s->is_up = true;
	notify_send(
	    &s->notify, "READY=1\nSTATUS=%zu instance(s) run", s->fleet.count);
}

/* Looks at what the instances have come to. */
static void
judge(struct supervisor *s)
{
	if (fleet_must_stop(&s->fleet) && s->life == SUPERVISOR_RUNNING)
		stop(s, "a stage has failed for good");
	if (!fleet_is_over(&s->fleet))
		return;
	if (fleet_has_failed(&s->fleet))
		s->exitcode = EXITCODE_FINAL;
	enter(s, SUPERVISOR_DONE, "no stage runs any more");
}

static int
turn(struct supervisor *s)
{
	int number;

	loop_begin(&s->loop);
	fleet_watch(&s->fleet, &s->loop);
	server_watch(&s->server, &s->loop);
	loop_until(&s->loop, s->report_ns);
	if (loop_wait(&s->loop) == -1)
		return -1;
	while ((number = loop_signal(&s->loop)) != 0)
		take_signal(s, number);
	/* First what a stage says: its last words stand before its end. */
	fleet_read(&s->fleet, &s->loop);
	fleet_reap(&s->fleet);
	server_turn(&s->server, &s->loop);
	take_requests(s);
	/* Behind all that could give it something to do. */
	fleet_turn(&s->fleet);
	answer_statuses(s);
	tell_up(s);
	judge(s);
	return 0;
}

/* Answers all that is asked, now that nothing runs. */
static void
answer_rest(struct supervisor *s)
{
	char *answer = answer_stopped(&s->fleet);

	s->report_ns = s->report_ns == LOOP_NEVER ? LOOP_NEVER : 0;
	answer_statuses(s);
	while (s->owed_count > 0)
		settle(s, s->owed_count - 1, answer);
	free(answer);
}

/* Serves those who have asked, and those who are about to: a stop that comes
 * late is one all the same. */
static void
answer_last(struct supervisor *s)
{
	int64_t end_ns = loop_now_ns() + LAST_ANSWERS_NS;
	bool is_asked = true;

	answer_rest(s);
	server_hide(&s->server);
	while (is_asked && loop_now_ns() < end_ns) {
		loop_begin(&s->loop);
		server_watch(&s->server, &s->loop);
		loop_until(&s->loop,
		    server_has_clients(&s->server, &s->loop) ? end_ns : 0);
		if (loop_wait(&s->loop) == -1)
			return;
		/* They come too late, but would wake us for ever. */
		while (loop_signal(&s->loop) != 0)
			continue;
		is_asked = server_has_clients(&s->server, &s->loop);
		server_turn(&s->server, &s->loop);
		take_requests(s);
		answer_rest(s);
	}
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

/* Finds who the stages are, and lets them reach their directories. */
static int
open_identity(struct supervisor *s)
{
	const struct config *config = &s->options->plan->config;
	struct identity *who = &s->shared.identity;
	char why[IDENTITY_WHY_BYTES];

	if (identity_find(who, config->user.text, config->group.text, why) ==
	    -1) {
		journal_say(s->journal, LOG_ERROR, "%s", why);
		return -1;
	}
	if (!who->is_given ||
	    state_dir_let_pass(s->shared.state_dir, who->gid) == 0)
		return 0;
	journal_say(s->journal, LOG_ERROR,
	    "cannot let the group of the stages into %s: %m",
	    s->shared.state_dir);
	return -1;
}

/* Opens the socket. Without it all works but the questions. */
static void
open_server(struct supervisor *s)
{
	s->state_dir_fd =
	    open(s->shared.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->state_dir_fd == -1 ||
	    server_open(&s->server, s->state_dir_fd) == -1)
		journal_say(s->journal, LOG_ERROR,
		    "no status can be asked for: %s/%s: %m",
		    s->shared.state_dir, SERVER_SOCKET);
}

/* Says which logs in the state directory nobody empties any more. */
static void
tell_orphans(const struct supervisor *s)
{
	struct orphans orphans;

	if (s->state_dir_fd == -1)
		return;
	fleet_find_orphans(&s->fleet, &orphans, s->state_dir_fd);
	for (size_t i = 0; i < orphans.count; i++)
		journal_say(s->journal, LOG_INFO,
		    "the log %s is of no instance that runs; status tells "
		    "what it holds",
		    orphans.list[i].directory);
	orphans_fini(&orphans);
}

/* Makes the crews of the plan. */
static void
open_fleet(struct supervisor *s)
{
	fleet_init(&s->fleet, &s->shared);
	cJSON_Delete(fleet_update(&s->fleet, s->options->plan));
	journal_say(s->journal, LOG_INFO,
	    "running: %zu instance(s), state in %s", s->fleet.count,
	    s->shared.state_dir);
	tell_orphans(s);
	fleet_turn(&s->fleet);
}

/* Opens what a run needs, with the lock in hand. Returns EXITCODE_DONE, or what
 * to end with; that is in the journal. */
static enum exitcode
open_all(struct supervisor *s)
{
	const char *log_file = s->options->log_file;

	if (log_file != NULL && journal_open_file(s->journal, log_file) == -1) {
		journal_say(s->journal, LOG_ERROR,
		    "cannot open the log file %s: %m", log_file);
		return EXITCODE_FINAL;
	}
	if (open_identity(s) == -1)
		return EXITCODE_FINAL;
	if (open_loop(s) == -1) {
		journal_say(s->journal, LOG_ERROR, "start: %m");
		return EXITCODE_AGAIN;
	}
	child_raise_fd_limit(&s->shared.fd_limit);
	notify_init(&s->notify);
	open_server(s);
	open_fleet(s);
	return EXITCODE_DONE;
}

static void
close_all(struct supervisor *s)
{
	fleet_fini(&s->fleet);
	server_close(&s->server);
	if (s->state_dir_fd != -1)
		(void)close(s->state_dir_fd);
	notify_fini(&s->notify);
	loop_close(&s->loop);
	identity_fini(&s->shared.identity);
}

enum exitcode
supervisor_run(
    const struct supervisor_options *options, struct journal *journal)
{
	struct supervisor s = {
	    .life = SUPERVISOR_RUNNING,
	    .exitcode = EXITCODE_DONE,
	    .options = options,
	    .journal = journal,
	    .since_ns = loop_realtime_ns(),
	    .report_ns = LOOP_NEVER,
	    .server = {.fd = -1},
	    .shared = {.journal = journal,
		.state_dir = options->plan->state_dir},
	};
	enum exitcode exitcode;

	if (!take_state_dir(&s, &exitcode))
		return exitcode;
	journal_say_faults(journal, LOG_WARN, options->notes);
	exitcode = open_all(&s);
	if (exitcode != EXITCODE_DONE)
		return exitcode;
	while (s.life != SUPERVISOR_DONE) {
		if (turn(&s) == 0)
			continue;
		journal_say(journal, LOG_ERROR, "poll: %m");
		kill_all(&s, "nothing can be waited for");
		break;
	}
	answer_last(&s);
	close_all(&s);
	(void)close(s.shared.lock_fd);
	return s.exitcode;
}

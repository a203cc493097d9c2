#include "stage/exitcode.h"
#include "stage/io.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/options.h"
#include "supervisor/journal.h"
#include "supervisor/outline.h"
#include "supervisor/plan.h"
#include "supervisor/supervisor.h"
#include "supervisor/verbs.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Options without a letter. */
enum option_code {
	OPTION_LOG_FORMAT = 256,
	OPTION_LOG_FILE,
	OPTION_JSON,
	OPTION_VERSION,
};

enum verb {
	VERB_RUN,
	VERB_CHECK,
	VERB_STATUS,
	VERB_STOP,
	VERB_RELOAD,
	VERBS,
};

static const char *const verbs[] = {
    [VERB_RUN] = "run",
    [VERB_CHECK] = "check",
    [VERB_STATUS] = "status",
    [VERB_STOP] = "stop",
    [VERB_RELOAD] = "reload",
};
_Static_assert(sizeof(verbs) / sizeof(verbs[0]) == VERBS, "a verb is missing");

struct options {
	const char **paths; /* owned; the strings are argv's */
	size_t path_count;
	enum verb verb;
	bool has_verb;
	bool is_json;
	enum log_level level;
	enum journal_format format;
	const char *log_file;
};

static const char usage[] =
    "usage: supervisor [-qv] [--log-format text|json] [--log-file file]\n"
    "                  -c file-or-directory ... [run | check]\n"
    "       supervisor [-qv] [--json] -c file-or-directory ...\n"
    "                  status | stop | reload\n"
    "\n"
    "Runs the pipelines of a configuration.\n"
    "\n"
    "  -c, --config PATH   a file, or a directory of .yaml and .trickle\n"
    "                      files\n"
    "      --log-format F  text (default) or json\n"
    "      --log-file F    append the log to F; SIGUSR1 opens it anew\n"
    "      --json          print the answer as one line of JSON\n"
    "  -v, --verbose       log more, in the stages too\n"
    "  -q, --quiet         log nothing unless something is wrong\n"
    "  -h, --help          print this and exit\n"
    "      --version       print the version and exit\n"
    "\n"
    "  run                 run it (default)\n"
    "  check               print what would be run as one YAML file, and exit\n"
    "  status              say how what runs stands\n"
    "  stop                stop what runs, and wait for its end\n"
    "  reload              let what runs take over a changed configuration\n";

/* Prints `text` as the answer to an option and ends the process. */
static _Noreturn void
answer(const char *text)
{
	exit(options_answer(text));
}

/* Logs what is wrong with the command line and ends the process. */
static _Noreturn void
refuse(const char *what, const char *word)
{
	char text[256];

	log_error("%s %s; try supervisor --help", what,
	    log_escape(text, sizeof(text), word, strlen(word)));
	exit(EXITCODE_FINAL);
}

static void
take_option(int code, struct options *options)
{
	switch (code) {
	case 'c':
		options->paths[options->path_count++] = optarg;
		break;
	case 'v':
		options->level = LOG_DEBUG;
		break;
	case 'q':
		options->level = LOG_WARN;
		break;
	case OPTION_LOG_FORMAT:
		if (strcmp(optarg, "json") == 0)
			options->format = JOURNAL_JSON;
		else if (strcmp(optarg, "text") == 0)
			options->format = JOURNAL_TEXT;
		else
			refuse(
			    "--log-format must be text or json, not", optarg);
		break;
	case OPTION_LOG_FILE:
		options->log_file = optarg;
		break;
	case OPTION_JSON:
		options->is_json = true;
		break;
	case 'h':
		answer(usage);
	case OPTION_VERSION:
		answer("supervisor " WALPIPE_VERSION "\n");
	}
}

/* Takes an argument that is no option: what to do, or, since a shell makes
 * several words of a pattern, one more file. */
static void
take_operand(char *word, struct options *options)
{
	for (int verb = 0; verb < VERBS; verb++) {
		if (strcmp(word, verbs[verb]) != 0)
			continue;
		if (options->has_verb)
			refuse("one command is enough:", word);
		options->has_verb = true;
		options->verb = (enum verb)verb;
		return;
	}
	if (options->path_count == 0)
		refuse("unknown command", word);
	options->paths[options->path_count++] = word;
}

static void
parse(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
	    {"log-file", required_argument, NULL, OPTION_LOG_FILE},
	    {"json", no_argument, NULL, OPTION_JSON},
	    {"verbose", no_argument, NULL, 'v'},
	    {"quiet", no_argument, NULL, 'q'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, OPTION_VERSION},
	    {NULL, 0, NULL, 0},
	};
	int code;

	options->paths = mem_calloc((size_t)argc, sizeof(*options->paths));
	while ((code = getopt_long(argc, argv, ":c:vqh", longs, NULL)) != -1) {
		if (code == ':' || code == '?') {
			options_log_wrong(
			    code, argv, longs, "supervisor --help");
			exit(EXITCODE_FINAL);
		}
		take_option(code, options);
	}
	for (; optind < argc; optind++)
		take_operand(argv[optind], options);
	if (options->is_json && options->verb <= VERB_CHECK)
		refuse("--json is not for", verbs[options->verb]);
	if (options->path_count == 0)
		refuse("say which configuration with", "-c");
}

static enum exitcode
check(const struct plan *plan, struct journal *journal)
{
	if (outline_print(&plan->config, &plan->context, stdout) == -1) {
		journal_say(journal, LOG_ERROR, "standard output: %m");
		return EXITCODE_AGAIN;
	}
	return EXITCODE_DONE;
}

/* Does what the command line asks of a supervisor that runs. */
static enum exitcode
ask(const struct options *options, struct journal *journal)
{
	static const enum request_verb requests[] = {
	    [VERB_STATUS] = REQUEST_STATUS,
	    [VERB_STOP] = REQUEST_STOP,
	    [VERB_RELOAD] = REQUEST_RELOAD,
	};
	struct plan_source source = {
	    .paths = options->paths, .path_count = options->path_count};
	struct verbs_options asked = {.is_json = options->is_json};
	enum exitcode exitcode = EXITCODE_FINAL;
	struct faults faults;
	struct plan plan;
	int result;

	faults_init(&faults);
	result = plan_locate(&plan, &source, &faults);
	journal_say_faults(
	    journal, result == 0 ? LOG_WARN : LOG_ERROR, &faults);
	faults_fini(&faults);
	if (result == -1)
		return EXITCODE_FINAL;
	asked.state_dir = plan.state_dir;
	asked.bin_dir = plan.bin_dir;
	exitcode = verbs_perform(requests[options->verb], &asked, journal);
	plan_fini(&plan);
	return exitcode;
}

/*
 * Runs the configuration. A run that went wrong is told on standard error too
 * where the log is a file: cron mails that, and a person at a terminal sees it.
 */
static enum exitcode
run(const struct supervisor_options *options, struct journal *journal)
{
	enum exitcode exitcode = supervisor_run(options, journal);
	bool is_in_file = journal->path != NULL;

	journal_close(journal);
	if (is_in_file && exitcode != EXITCODE_DONE)
		journal_say(journal, LOG_ERROR,
		    "ended with status %d; the reason is in %s", (int)exitcode,
		    options->log_file);
	return exitcode;
}

/* Reads the configuration and does with it what the command line asks for. */
static enum exitcode
perform(const struct options *options, struct journal *journal)
{
	static const char *const verbosity[] = {
	    [LOG_ERROR] = NULL,
	    [LOG_WARN] = "-q",
	    [LOG_INFO] = NULL,
	    [LOG_DEBUG] = "-v",
	};
	struct plan_source source = {
	    .paths = options->paths,
	    .path_count = options->path_count,
	    .verbosity = verbosity[options->level],
	};
	struct plan plan;
	struct faults faults, notes;
	struct supervisor_options to_run = {
	    &source, &plan, &notes, options->log_file};
	enum exitcode exitcode = EXITCODE_FINAL;

	faults_init(&faults);
	faults_init(&notes);
	if (plan_read(&plan, &source, &faults, &notes) == -1) {
		journal_say_faults(journal, LOG_ERROR, &faults);
		journal_say_faults(journal, LOG_WARN, &notes);
	} else {
		if (options->verb == VERB_CHECK) {
			journal_say_faults(journal, LOG_WARN, &notes);
			exitcode = check(&plan, journal);
		} else {
			exitcode = run(&to_run, journal);
		}
		plan_fini(&plan);
	}
	faults_fini(&faults);
	faults_fini(&notes);
	return exitcode;
}

int
main(int argc, char **argv)
{
	struct options options = {.level = LOG_INFO};
	struct journal journal;
	enum exitcode exitcode;
	bool has_output = io_is_open(STDOUT_FILENO);

	/* Nobody reading our output is no reason to die unheard. */
	(void)signal(SIGPIPE, SIG_IGN);
	log_init("supervisor", LOG_INFO);
	mem_init();
	parse(argc, argv, &options);
	log_init("supervisor", options.level);
	if (io_claim_stdio() == -1) {
		log_error("start: %m");
		return EXITCODE_AGAIN;
	}
	journal_init(&journal, options.format, options.level);
	if (!has_output &&
	    (options.verb == VERB_CHECK || options.verb == VERB_STATUS)) {
		journal_say(&journal, LOG_ERROR, "standard output is closed");
		exitcode = EXITCODE_FINAL;
	} else if (options.verb > VERB_CHECK) {
		exitcode = ask(&options, &journal);
	} else {
		exitcode = perform(&options, &journal);
	}
	journal_close(&journal);
	free(options.paths);
	return (int)exitcode;
}

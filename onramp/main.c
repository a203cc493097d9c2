#include "onramp/onramp.h"
#include "stage/confine.h"
#include "stage/exitcode.h"
#include "stage/io.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/number.h"
#include "stage/options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DRAIN_MS UINT64_C(86400000)

/* Options without a letter. */
enum option_code {
	OPTION_DRAIN_TIMEOUT = 256,
	OPTION_SANDBOX,
	OPTION_VERSION,
};

/* What the command line says. */
struct command {
	struct onramp_options options;
	bool sandbox;
};

static const char usage[] =
    "usage: onramp [-qv] [--drain-timeout seconds] [--sandbox]\n"
    "\n"
    "Passes lines from standard input to standard output; on a socket it keeps"
    "\n"
    "what is not acknowledged.\n"
    "\n"
    "      --drain-timeout S  wait for the last acks S seconds (for ever)\n"
    "      --sandbox          give up all rights that are not needed\n"
    "  -v, --verbose          log more\n"
    "  -q, --quiet            log warnings and errors only\n"
    "  -h, --help             print this and exit\n"
    "      --version          print the version and exit\n";

/* Logs what is wrong with an option and ends the process. */
static _Noreturn void
refuse(const char *option, const char *value, const char *wanted)
{
	char text[256];

	log_error("option %s: \"%s\" is not %s", option,
	    log_escape(text, sizeof(text), value, strlen(value)), wanted);
	exit(EXITCODE_FINAL);
}

/* Prints `text` as the answer to an option and ends the process. */
static _Noreturn void
answer(const char *text)
{
	exit(options_answer(text));
}

/* Refuses an option that getopt_long(3) does not know or that lacks its
 * argument, which `code` tells apart. */
static _Noreturn void
refuse_option(int code, char **argv)
{
	char text[256];
	const char *word = argv[optind - 1];

	/* A letter may stand within a word with others: name it alone. */
	if (code == '?' && optopt != 0 && optopt < OPTION_DRAIN_TIMEOUT)
		log_error("unknown option -%c; try onramp --help", optopt);
	else
		log_error(code == ':' ? "option %s wants a value"
				      : "unknown option %s; try onramp --help",
		    log_escape(text, sizeof(text), word, strlen(word)));
	exit(EXITCODE_FINAL);
}

static void
take_option(int code, struct command *command)
{
	struct onramp_options *options = &command->options;

	switch (code) {
	case OPTION_DRAIN_TIMEOUT:
		if (number_parse_seconds(
			optarg, 0, MAX_DRAIN_MS, &options->drain_ms) == -1)
			refuse("--drain-timeout", optarg,
			    "a number of seconds from 0 to 86400");
		options->has_drain = true;
		break;
	case OPTION_SANDBOX:
		command->sandbox = true;
		break;
	}
}

static void
parse(int argc, char **argv, struct command *command)
{
	static const struct option longs[] = {
	    {"drain-timeout", required_argument, NULL, OPTION_DRAIN_TIMEOUT},
	    {"sandbox", no_argument, NULL, OPTION_SANDBOX},
	    {"verbose", no_argument, NULL, 'v'},
	    {"quiet", no_argument, NULL, 'q'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, OPTION_VERSION},
	    {NULL, 0, NULL, 0},
	};
	enum log_level level = LOG_INFO;
	int code;

	while ((code = getopt_long(argc, argv, ":vqh", longs, NULL)) != -1) {
		if (code == 'v' || code == 'q')
			level = code == 'v' ? LOG_DEBUG : LOG_WARN;
		else if (code == 'h')
			answer(usage);
		else if (code == OPTION_VERSION)
			answer("onramp " WALPIPE_VERSION "\n");
		else if (code == '?' || code == ':')
			refuse_option(code, argv);
		else
			take_option(code, command);
	}
	if (optind < argc)
		refuse("argument", argv[optind], "an option");
	log_init("onramp", level);
}

/* Refuses to start without the descriptor that `name` is. */
static void
want_open(int fd, const char *name)
{
	if (io_is_open(fd))
		return;
	log_error("standard %s is not open", name);
	exit(EXITCODE_FINAL);
}

int
main(int argc, char **argv)
{
	struct command command = {.sandbox = false};
	struct control control;
	struct onramp onramp;
	enum exitcode exitcode;

	log_init("onramp", LOG_INFO);
	mem_init();
	control_open(&control);
	parse(argc, argv, &command);
	want_open(STDIN_FILENO, "input");
	want_open(STDOUT_FILENO, "output");
	if (io_claim_stdio() == -1 ||
	    onramp_open(&onramp, &command.options, &control, STDIN_FILENO,
		STDOUT_FILENO) == -1) {
		log_error("start: %m");
		return EXITCODE_AGAIN;
	}
	if (command.sandbox && confine_enter(CONFINE_PURE, NULL, 0) == -1)
		return EXITCODE_AGAIN;
	exitcode = onramp_run(&onramp);
	onramp_close(&onramp);
	return (int)exitcode;
}

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
#include <unistd.h>

/* Options without a letter. */
enum option_code {
	OPTION_DRAIN_TIMEOUT = 256,
	OPTION_SANDBOX,
	OPTION_VERSION,
};

static const struct option long_options[] = {
    {"drain-timeout", required_argument, NULL, OPTION_DRAIN_TIMEOUT},
    {"sandbox", no_argument, NULL, OPTION_SANDBOX},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
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
	options_log_value(option, value, wanted);
	exit(EXITCODE_FINAL);
}

/* Logs which option is unknown, or lacks its value, and ends the process. */
static _Noreturn void
refuse_word(int found, char **argv)
{
	options_log_wrong(found, argv, long_options, "onramp --help");
	exit(EXITCODE_FINAL);
}

static void
take_option(int code, struct command *command)
{
	uint64_t ms;

	switch (code) {
	case OPTION_DRAIN_TIMEOUT:
		if (number_parse_seconds(optarg, 0, SOURCE_MAX_DRAIN_MS, &ms) ==
		    -1)
			refuse("--drain-timeout", optarg,
			    "a number of seconds from 0 to 86400");
		command->options.drain_ns = (int64_t)ms * LOOP_NS_PER_MS;
		break;
	case OPTION_SANDBOX:
		command->sandbox = true;
		break;
	}
}

static void
parse(int argc, char **argv, struct command *command)
{
	enum log_level level = LOG_INFO;
	int code;

	while ((code = getopt_long(argc, argv, ":vqh", long_options, NULL)) !=
	       -1) {
		if (code == 'v' || code == 'q')
			level = code == 'v' ? LOG_DEBUG : LOG_WARN;
		else if (code == 'h')
			exit(options_answer(usage));
		else if (code == OPTION_VERSION)
			exit(options_answer("onramp " WALPIPE_VERSION "\n"));
		else if (code == '?' || code == ':')
			refuse_word(code, argv);
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
	struct command command = {.options = {.drain_ns = LOOP_NEVER}};
	struct control control;
	struct onramp onramp;
	enum exitcode exitcode = EXITCODE_AGAIN;

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
	if (!command.sandbox || confine_enter(CONFINE_PURE, NULL, 0) == 0)
		exitcode = onramp_run(&onramp);
	onramp_close(&onramp);
	return (int)exitcode;
}

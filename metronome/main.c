#include "metronome/metronome.h"
#include "stage/confine.h"
#include "stage/exitcode.h"
#include "stage/io.h"
#include "stage/json.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/number.h"
#include "stage/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_INTERVAL_MS 1000
#define DEFAULT_ID "metronome"
#define MAX_DRAIN_MS UINT64_C(86400000)

/* Options without a letter. */
enum option_code {
	OPTION_ID = 256,
	OPTION_FRAMING,
	OPTION_DRAIN_TIMEOUT,
	OPTION_SANDBOX,
	OPTION_VERSION,
};

static const char usage[] =
    "usage: metronome [-qv] [-i ms] [-n count] [--id name]\n"
    "                 [--framing length|ndjson] [--drain-timeout seconds]\n"
    "                 [--sandbox]\n"
    "\n"
    "Sends an event at every tick to standard output.\n"
    "\n"
    "  -i, --interval MS      time between ticks (1000); 0: without pause\n"
    "  -n, --count N          stop after N events (endless)\n"
    "      --id NAME          name in the events (metronome)\n"
    "      --framing F        length (on a socket) or ndjson (elsewhere)\n"
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
	if (code == '?' && optopt != 0 && optopt < OPTION_ID)
		log_error("unknown option -%c; try metronome --help", optopt);
	else
		log_error(code == ':' ? "option %s wants a value"
				      : "unknown option %s; try metronome "
					"--help",
		    log_escape(text, sizeof(text), word, strlen(word)));
	exit(EXITCODE_FINAL);
}

static void
take_option(int code, struct metronome_options *options)
{
	switch (code) {
	case 'i':
		if (number_parse(optarg, 0, METRONOME_MAX_INTERVAL_MS,
			&options->interval_ms) == -1)
			refuse("--interval", optarg,
			    "a whole number of milliseconds from 0 to "
			    "86400000");
		break;
	case 'n':
		if (number_parse(optarg, 1, METRONOME_ENDLESS - 1,
			&options->count) == -1)
			refuse("--count", optarg, "a whole number from 1");
		break;
	case OPTION_ID:
		if (strlen(optarg) > METRONOME_MAX_ID_BYTES ||
		    !json_is_utf8(optarg, strlen(optarg)))
			refuse(
			    "--id", optarg, "valid UTF-8 of at most 255 bytes");
		options->id = optarg;
		break;
	case OPTION_FRAMING:
		options->framing = framing_from_name(optarg);
		if (options->framing == FRAMING_AUTO)
			refuse("--framing", optarg, "length or ndjson");
		break;
	case OPTION_DRAIN_TIMEOUT:
		if (number_parse_seconds(
			optarg, 0, MAX_DRAIN_MS, &options->drain_ms) == -1)
			refuse("--drain-timeout", optarg,
			    "a number of seconds from 0 to 86400");
		options->has_drain = true;
		break;
	}
}

static void
parse(int argc, char **argv, struct metronome_options *options, bool *sandbox)
{
	static const struct option longs[] = {
	    {"interval", required_argument, NULL, 'i'},
	    {"count", required_argument, NULL, 'n'},
	    {"id", required_argument, NULL, OPTION_ID},
	    {"framing", required_argument, NULL, OPTION_FRAMING},
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

	while (
	    (code = getopt_long(argc, argv, ":i:n:vqh", longs, NULL)) != -1) {
		if (code == 'v' || code == 'q')
			level = code == 'v' ? LOG_DEBUG : LOG_WARN;
		else if (code == 'h')
			answer(usage);
		else if (code == OPTION_VERSION)
			answer("metronome " WALPIPE_VERSION "\n");
		else if (code == OPTION_SANDBOX)
			*sandbox = true;
		else if (code == '?' || code == ':')
			refuse_option(code, argv);
		else
			take_option(code, options);
	}
	if (optind < argc)
		refuse("argument", argv[optind], "an option");
	log_init("metronome", level);
}

int
main(int argc, char **argv)
{
	struct metronome_options options = {
	    .interval_ms = DEFAULT_INTERVAL_MS,
	    .count = METRONOME_ENDLESS,
	    .id = DEFAULT_ID,
	    .framing = FRAMING_AUTO,
	};
	struct metronome metronome;
	struct control control;
	enum exitcode exitcode = EXITCODE_AGAIN;
	bool sandbox = false;

	log_init("metronome", LOG_INFO);
	mem_init();
	control_open(&control);
	parse(argc, argv, &options, &sandbox);
	if (!io_is_open(STDOUT_FILENO)) {
		log_error("standard output is not open");
		return EXITCODE_FINAL;
	}
	if (io_claim_stdio() == -1 || metronome_open(&metronome, &options,
					  &control, STDOUT_FILENO) == -1) {
		log_error("start: %m");
		return EXITCODE_AGAIN;
	}
	/* All that is needed is open. */
	if (!sandbox || confine_enter(CONFINE_PURE, NULL, 0) == 0)
		exitcode = metronome_run(&metronome);
	metronome_close(&metronome);
	return (int)exitcode;
}

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
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_INTERVAL_MS 1000
#define DEFAULT_ID "metronome"

/* Options without a letter. */
enum option_code {
	OPTION_ID = 256,
	OPTION_SIZE,
	OPTION_FRAMING,
	OPTION_DRAIN_TIMEOUT,
	OPTION_SANDBOX,
	OPTION_VERSION,
};

static const struct option long_options[] = {
    {"interval", required_argument, NULL, 'i'},
    {"count", required_argument, NULL, 'n'},
    {"id", required_argument, NULL, OPTION_ID},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"framing", required_argument, NULL, OPTION_FRAMING},
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
	struct metronome_options options;
	bool sandbox;
};

static const char usage[] =
    "usage: metronome [-qv] [-i ms] [-n count] [--id name]\n"
    "                 [--size bytes] [--framing length|ndjson]\n"
    "                 [--drain-timeout seconds] [--sandbox]\n"
    "\n"
    "Sends an event at every tick to standard output.\n"
    "\n"
    "  -i, --interval MS      time between ticks (1000); 0: without pause\n"
    "  -n, --count N          stop after N events (endless)\n"
    "      --id NAME          name in the events (metronome)\n"
    "      --size BYTES       fill up shorter events to BYTES\n"
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
	options_log_value(option, value, wanted);
	exit(EXITCODE_FINAL);
}

/* Logs which option is unknown, or lacks its value, and ends the process. */
static _Noreturn void
refuse_word(int found, char **argv)
{
	options_log_wrong(found, argv, long_options, "metronome --help");
	exit(EXITCODE_FINAL);
}

static void
take_option(int code, struct command *command)
{
	struct metronome_options *options = &command->options;
	uint64_t ms, bytes;

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
	case OPTION_SIZE:
		if (number_parse(optarg, 1, METRONOME_MAX_SIZE, &bytes) == -1)
			refuse("--size", optarg,
			    "a whole number of bytes from 1 to 65536");
		options->size = (size_t)bytes;
		break;
	case OPTION_FRAMING:
		options->framing = framing_from_name(optarg);
		if (options->framing == FRAMING_AUTO)
			refuse("--framing", optarg, "length or ndjson");
		break;
	case OPTION_DRAIN_TIMEOUT:
		if (number_parse_seconds(optarg, 0, SOURCE_MAX_DRAIN_MS, &ms) ==
		    -1)
			refuse("--drain-timeout", optarg,
			    "a number of seconds from 0 to 86400");
		options->drain_ns = (int64_t)ms * LOOP_NS_PER_MS;
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

	while ((code = getopt_long(
		    argc, argv, ":i:n:vqh", long_options, NULL)) != -1) {
		if (code == 'v' || code == 'q')
			level = code == 'v' ? LOG_DEBUG : LOG_WARN;
		else if (code == 'h')
			exit(options_answer(usage));
		else if (code == OPTION_VERSION)
			exit(options_answer("metronome " WALPIPE_VERSION "\n"));
		else if (code == '?' || code == ':')
			refuse_word(code, argv);
		else
			take_option(code, command);
	}
	if (optind < argc)
		refuse("argument", argv[optind], "an option");
	log_init("metronome", level);
}

int
main(int argc, char **argv)
{
	struct command command = {
	    .options =
		{
		    .interval_ms = DEFAULT_INTERVAL_MS,
		    .count = METRONOME_ENDLESS,
		    .id = DEFAULT_ID,
		    .framing = FRAMING_AUTO,
		    .drain_ns = LOOP_NEVER,
		},
	};
	struct metronome metronome;
	struct control control;
	enum exitcode exitcode = EXITCODE_AGAIN;

	log_init("metronome", LOG_INFO);
	mem_init();
	control_open(&control);
	parse(argc, argv, &command);
	if (!io_is_open(STDOUT_FILENO)) {
		log_error("standard output is not open");
		return EXITCODE_FINAL;
	}
	if (io_claim_stdio() == -1 ||
	    metronome_open(
		&metronome, &command.options, &control, STDOUT_FILENO) == -1) {
		log_error("start: %m");
		return EXITCODE_AGAIN;
	}
	if (!command.sandbox || confine_enter(CONFINE_PURE, NULL, 0) == 0)
		exitcode = metronome_run(&metronome);
	metronome_close(&metronome);
	return (int)exitcode;
}

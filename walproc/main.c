#include "stage/confine.h"
#include "stage/io.h"
#include "stage/json.h"
#include "stage/mem.h"
#include "stage/number.h"
#include "stage/options.h"
#include "walproc/place.h"
#include "walproc/tools.h"
#include "walproc/walproc.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_COUNT 20
#define READ_COUNT_MAX 1000000
#define MAX_ELEMENTS 1000
#define MAX_BYTES UINT64_C(10485760)
/* The smallest that hold one small event. */
#define MAX_BYTES_MIN 16384
#define SEGMENT_BYTES_MIN 16384
#define SEGMENT_BYTES_MAX (UINT64_C(1) << 30)
#define SECONDS_MAX_MS (UINT64_C(365) * 86400 * 1000)
#define SYNC_MAX_MS 3600000

/* Options that have no short form. */
enum option_code {
	OPTION_READ_COUNT = UCHAR_MAX + 1,
	OPTION_MAX_ELEMENTS,
	OPTION_MAX_BYTES,
	OPTION_MAX_EVENT_BYTES,
	OPTION_SEGMENT_BYTES,
	OPTION_INSERT,
	OPTION_UPSERT,
	OPTION_UPDATE,
	OPTION_ERASE,
	OPTION_MERGE,
	OPTION_MERGE_EVENT,
	OPTION_ON_FULL,
	OPTION_SYNC,
	OPTION_MAX_AGE,
	OPTION_ACKS,
	OPTION_INSTANCE,
	OPTION_FRAMING,
	OPTION_DRAIN_TIMEOUT,
	OPTION_SANDBOX,
	OPTION_VERSION,
};

static const struct option long_options[] = {
    {"directory", required_argument, NULL, 'd'},
    {"read-count", required_argument, NULL, OPTION_READ_COUNT},
    {"max-elements", required_argument, NULL, OPTION_MAX_ELEMENTS},
    {"max-bytes", required_argument, NULL, OPTION_MAX_BYTES},
    {"max-event-bytes", required_argument, NULL, OPTION_MAX_EVENT_BYTES},
    {"segment-bytes", required_argument, NULL, OPTION_SEGMENT_BYTES},
    {"insert", required_argument, NULL, OPTION_INSERT},
    {"upsert", required_argument, NULL, OPTION_UPSERT},
    {"update", required_argument, NULL, OPTION_UPDATE},
    {"erase", required_argument, NULL, OPTION_ERASE},
    {"merge", required_argument, NULL, OPTION_MERGE},
    {"merge-event", required_argument, NULL, OPTION_MERGE_EVENT},
    {"on-full", required_argument, NULL, OPTION_ON_FULL},
    {"sync", required_argument, NULL, OPTION_SYNC},
    {"max-age", required_argument, NULL, OPTION_MAX_AGE},
    {"acks", required_argument, NULL, OPTION_ACKS},
    {"instance", required_argument, NULL, OPTION_INSTANCE},
    {"framing", required_argument, NULL, OPTION_FRAMING},
    {"drain-timeout", required_argument, NULL, OPTION_DRAIN_TIMEOUT},
    {"sandbox", no_argument, NULL, OPTION_SANDBOX},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {0},
};

static const char usage[] =
    "usage: walproc -d DIR [options]\n"
    "       walproc inspect|verify|repair|export [options] DIR\n"
    "\n"
    "Keeps the events that come on standard input in a write-ahead log in DIR\n"
    "until who reads standard output has acknowledged them.\n"
    "\n"
    "  -d, --directory DIR     the log; made if it is not there\n"
    "  --read-count N          events given and not acknowledged [20]\n"
    "  --max-elements N        events stored; without a limit [1000]\n"
    "  --max-bytes N           what they take on disk [10485760]\n"
    "  --insert KEY=VALUE      add to each event; may be repeated\n"
    "  --upsert KEY=VALUE      add, or replace; may be repeated\n"
    "  --update KEY=VALUE      replace; may be repeated\n"
    "  --erase KEY             take out; may be repeated\n"
    "  --merge KEY=RECORD      merge a JSON object into what KEY has\n"
    "  --merge-event RECORD    merge a JSON object into each event\n"
    "  --acks PATH             read acks from a FIFO that is made there\n"
    "  --acks none             what is written counts as delivered\n"
    "  --max-event-bytes N     a longer event is bad input [16777215]\n"
    "  --segment-bytes N       size of the log's files\n"
    "  --instance NAME         what ${instance} stands for [01]\n"
    "  --framing F             of the output: length (on a socket) or ndjson\n"
    "  --drain-timeout S       wait for the sink at the end [for ever]\n"
    "  --on-full WHAT          pause, drop_oldest or drop_newest [pause]\n"
    "  --sync WHEN             always, interval:MS or never [always]\n"
    "  --max-age S             drop what is older [never]\n"
    "  --sandbox               give up all rights that are not needed\n"
    "  -v, --verbose           log more\n"
    "  -q, --quiet             log warnings and errors only\n"
    "  -h, --help  --version\n"
    "\n"
    "Exit status: 0 done; 1 damage was found; 100 wrong usage, or a log in "
    "use;\n"
    "111 try again. See walproc(1).\n";

/* An operation on the event, kept until all options are known. */
struct change {
	enum patch_how how;
	const char *option;
	const char *text; /* its value */
};

/* What the command line says. */
struct command {
	struct walproc_options options;
	const char *dir;
	const char *acks; /* FIFO path, "none", or NULL */
	const char *instance;
	struct change *changes; /* owned */
	size_t change_count;
	enum log_level level;
	bool sandbox;
	const char *answer; /* to --help or --version, which is all then */
};

static int
refuse(const char *what, const char *value, const char *why)
{
	log_error("%s %s: %s", what, value, why);
	return -1;
}

static int
parse_number(const char *name, uint64_t min, uint64_t max, uint64_t *value)
{
	char why[96];

	if (number_parse(optarg, min, max, value) == 0)
		return 0;
	(void)snprintf(why, sizeof(why),
	    "a whole number from %llu to %llu is expected",
	    (unsigned long long)min, (unsigned long long)max);
	return refuse(name, optarg, why);
}

static int
parse_size(const char *name, uint64_t min, uint64_t max, size_t *value)
{
	uint64_t number;

	if (parse_number(name, min, max, &number) == -1)
		return -1;
	*value = (size_t)number;
	return 0;
}

static int
parse_seconds(const char *name, uint64_t min_ms, int64_t *ns)
{
	uint64_t ms;

	if (number_parse_seconds(optarg, min_ms, SECONDS_MAX_MS, &ms) == -1)
		return refuse(name, optarg, "seconds are expected");
	*ns = (int64_t)ms * LOOP_NS_PER_MS;
	return 0;
}

static int
parse_on_full(enum walproc_on_full *on_full)
{
	static const char *const words[] = {
	    [WALPROC_PAUSE] = "pause",
	    [WALPROC_DROP_OLDEST] = "drop_oldest",
	    [WALPROC_DROP_NEWEST] = "drop_newest",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(optarg, words[i]) != 0)
			continue;
		*on_full = (enum walproc_on_full)i;
		return 0;
	}
	return refuse("--on-full", optarg,
	    "pause, drop_oldest or drop_newest is expected");
}

static int
parse_sync(int64_t *sync_ns)
{
	static const char interval[] = "interval:";
	size_t n = sizeof(interval) - 1;
	uint64_t ms;

	if (strcmp(optarg, "always") == 0) {
		*sync_ns = 0;
		return 0;
	}
	if (strcmp(optarg, "never") == 0) {
		*sync_ns = LOOP_NEVER;
		return 0;
	}
	if (strncmp(optarg, interval, n) != 0 ||
	    number_parse(optarg + n, 1, SYNC_MAX_MS, &ms) == -1)
		return refuse("--sync", optarg,
		    "always, never or interval:MS is expected, with 1 to "
		    "3600000 ms");
	*sync_ns = (int64_t)ms * LOOP_NS_PER_MS;
	return 0;
}

/* Adds the operation that the option stands for, if it is one. */
static bool
add_change(int code, struct command *command)
{
	static const struct change changes[] = {
	    {.how = PATCH_INSERT, .option = "--insert"},
	    {.how = PATCH_UPSERT, .option = "--upsert"},
	    {.how = PATCH_UPDATE, .option = "--update"},
	    {.how = PATCH_ERASE, .option = "--erase"},
	    {.how = PATCH_MERGE, .option = "--merge"},
	    {.how = PATCH_MERGE_EVENT, .option = "--merge-event"},
	};
	struct change *change;

	_Static_assert(sizeof(changes) / sizeof(changes[0]) ==
			   OPTION_MERGE_EVENT - OPTION_INSERT + 1,
	    "an operation is missing");
	if (code < OPTION_INSERT || code > OPTION_MERGE_EVENT)
		return false;
	command->changes = mem_realloc(command->changes,
	    command->change_count + 1, sizeof(*command->changes));
	change = &command->changes[command->change_count++];
	*change = changes[code - OPTION_INSERT];
	change->text = optarg;
	return true;
}

static int
parse_limit(int code, struct walproc_options *options)
{
	struct wal_limits *limits = &options->limits;

	switch (code) {
	case OPTION_READ_COUNT:
		return parse_size(
		    "--read-count", 1, READ_COUNT_MAX, &options->read_count);
	case OPTION_MAX_ELEMENTS:
		return parse_number(
		    "--max-elements", 1, INT64_MAX, &limits->max_elements);
	case OPTION_MAX_BYTES:
		return parse_number("--max-bytes", MAX_BYTES_MIN, INT64_MAX,
		    &limits->max_bytes);
	case OPTION_MAX_EVENT_BYTES:
		return parse_size("--max-event-bytes", 1, FRAME_MAX_BYTES,
		    &options->max_event_bytes);
	case OPTION_SEGMENT_BYTES:
		return parse_number("--segment-bytes", SEGMENT_BYTES_MIN,
		    SEGMENT_BYTES_MAX, &limits->segment_bytes);
	default:
		return -1;
	}
}

static int
parse_option(int code, struct command *command)
{
	if (add_change(code, command))
		return 0;
	switch (code) {
	case 'd':
		command->dir = optarg;
		return 0;
	case OPTION_ON_FULL:
		return parse_on_full(&command->options.on_full);
	case OPTION_SYNC:
		return parse_sync(&command->options.sync_ns);
	case OPTION_MAX_AGE:
		return parse_seconds(
		    "--max-age", 1, &command->options.max_age_ns);
	case OPTION_ACKS:
		command->acks = optarg;
		return 0;
	case OPTION_INSTANCE:
		command->instance = optarg;
		return 0;
	case OPTION_FRAMING:
		command->options.framing = framing_from_name(optarg);
		if (command->options.framing == FRAMING_AUTO)
			return refuse("--framing", optarg,
			    "length or ndjson is expected");
		return 0;
	case OPTION_DRAIN_TIMEOUT:
		return parse_seconds(
		    "--drain-timeout", 0, &command->options.drain_timeout_ns);
	case OPTION_SANDBOX:
		command->sandbox = true;
		return 0;
	case 'v':
		command->level = LOG_DEBUG;
		return 0;
	case 'q':
		command->level = LOG_WARN;
		return 0;
	case 'h':
		command->answer = usage;
		return 0;
	case OPTION_VERSION:
		command->answer = "walproc " WALPIPE_VERSION "\n";
		return 0;
	default:
		return parse_limit(code, &command->options);
	}
}

/* Holds the words of the command line against each other. */
static int
check_command(struct command *command)
{
	struct wal_limits *limits = &command->options.limits;

	if (command->dir == NULL) {
		log_error("-d DIR is missing: the directory of the log");
		return -1;
	}
	if (limits->max_elements == UINT64_MAX &&
	    limits->max_bytes == UINT64_MAX) {
		limits->max_elements = MAX_ELEMENTS;
		limits->max_bytes = MAX_BYTES;
	}
	if (limits->segment_bytes > limits->max_bytes) {
		log_error("--segment-bytes: a segment is larger than "
			  "--max-bytes lets the log be");
		return -1;
	}
	if (!json_is_utf8(command->instance, strlen(command->instance))) {
		log_error("--instance: not valid UTF-8");
		return -1;
	}
	command->options.acks_none =
	    command->acks != NULL && strcmp(command->acks, "none") == 0;
	/* A supervisor gives the sinks later. */
	if (command->acks == NULL && !io_is_socket(STDOUT_FILENO) &&
	    !control_is_open(&command->options.control)) {
		log_error(
		    "standard output is no socket, so no acks come back on "
		    "it: give --acks PATH, a FIFO that the sink writes them "
		    "to (wssink --acks PATH), or --acks none to count an "
		    "event as delivered once it is written");
		return -1;
	}
	return 0;
}

static int
parse_command(int argc, char **argv, const struct control *control,
    struct command *command)
{
	int code;

	*command = (struct command){
	    .instance = "01",
	    .level = LOG_INFO,
	    .options =
		{
		    .limits = {.max_elements = UINT64_MAX,
			.max_bytes = UINT64_MAX},
		    .read_count = READ_COUNT,
		    .max_event_bytes = FRAME_MAX_BYTES,
		    .drain_timeout_ns = LOOP_NEVER,
		    .max_age_ns = LOOP_NEVER,
		    .framing = FRAMING_AUTO,
		    .acks_fd = -1,
		    .control = *control,
		},
	};
	while ((code = getopt_long(argc, argv, ":d:vqh", long_options, NULL)) !=
	       -1) {
		if (code == '?' || code == ':') {
			options_log_wrong(
			    code, argv, long_options, "walproc --help");
			return -1;
		}
		if (parse_option(code, command) == -1)
			return -1;
		if (command->answer != NULL)
			return 0;
	}
	if (optind < argc) {
		log_error("%s: not expected; see walproc --help", argv[optind]);
		return -1;
	}
	return check_command(command);
}

/* Compiles what is done to events. Returns NULL if it cannot be; logged. */
static struct patch *
compile_patch(const struct command *command, const char *hostname)
{
	struct patch_names names = {
	    .hostname = hostname,
	    .instance = command->instance,
	};
	struct patch *patch = patch_new(&names);
	char why[256];

	for (size_t i = 0; i < command->change_count; i++) {
		const struct change *change = &command->changes[i];

		if (patch_add(patch, change->how, change->text, why,
			sizeof(why)) == 0)
			continue;
		log_error("%s %s: %s", change->option, change->text, why);
		patch_free(patch);
		return NULL;
	}
	return patch;
}

/* Gives up all that the work on an open log does not need. */
static enum exitcode
confine(const struct place *place)
{
	const struct confine_path paths[] = {
	    {.fd = place->dir_fd, .access = CONFINE_READ_WRITE},
	    /* How a file that is the output ends is read from a descriptor of
	     * its own. */
	    {.fd = STDOUT_FILENO, .access = CONFINE_READ},
	};
	struct stat st;
	bool is_file = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode);

	return confine_enter(CONFINE_FILES, paths, is_file ? 2 : 1) == 0
		   ? EXITCODE_DONE
		   : EXITCODE_AGAIN;
}

static enum exitcode
run(struct command *command)
{
	struct walproc walproc;
	struct place place;
	/* Under a supervisor it is a repair that will come to its end. */
	bool is_sole = !control_is_open(&command->options.control);
	enum exitcode exitcode = place_open(
	    &place, command->dir, is_sole ? EXITCODE_FINAL : EXITCODE_AGAIN);

	if (exitcode != EXITCODE_DONE)
		return exitcode;
	exitcode = place_clear(&place);
	if (exitcode == EXITCODE_DONE && command->acks != NULL &&
	    !command->options.acks_none) {
		command->options.acks_fd =
		    place_make_fifo(&place, command->acks);
		if (command->options.acks_fd == -1)
			exitcode = place_exitcode(errno);
	}
	if (exitcode == EXITCODE_DONE && command->sandbox)
		exitcode = confine(&place);
	if (exitcode == EXITCODE_DONE)
		exitcode =
		    walproc_open(&walproc, place.dir_fd, &command->options);
	if (exitcode == EXITCODE_DONE)
		exitcode = walproc_close(&walproc, walproc_run(&walproc));
	if (command->options.acks_fd != -1)
		(void)close(command->options.acks_fd);
	place_close(&place);
	return exitcode;
}

/* Does what the command line says. */
static enum exitcode
obey(struct command *command)
{
	char hostname[HOST_NAME_MAX + 1] = "localhost";
	struct patch *patch;
	enum exitcode exitcode;

	if (gethostname(hostname, sizeof(hostname) - 1) == -1 ||
	    !json_is_utf8(hostname, strlen(hostname))) {
		log_error("the host's name cannot be read, or is not UTF-8");
		return EXITCODE_FINAL;
	}
	patch = compile_patch(command, hostname);
	if (patch == NULL)
		return EXITCODE_FINAL;
	command->options.patch = patch;
	exitcode = run(command);
	patch_free(patch);
	return exitcode;
}

int
main(int argc, char **argv)
{
	struct command command;
	struct control control;
	enum exitcode exitcode = EXITCODE_FINAL;
	bool has_output = io_is_open(STDOUT_FILENO);
	bool is_open = io_is_open(STDIN_FILENO) && has_output;

	mem_init();
	log_init("walproc", LOG_INFO);
	control_open(&control);
	if (io_claim_stdio() == -1)
		return EXITCODE_AGAIN;
	if (argc > 1 && tools_is_word(argv[1])) {
		if (has_output)
			return tools_run(argc - 1, argv + 1);
		log_error("standard output is closed");
		return EXITCODE_FINAL;
	}
	if (parse_command(argc, argv, &control, &command) == 0) {
		if (command.answer != NULL) {
			exitcode = options_answer(command.answer);
		} else if (!is_open) {
			log_error("standard input or output is closed");
		} else {
			log_init("walproc", command.level);
			exitcode = obey(&command);
		}
	}
	free(command.changes);
	return exitcode;
}

#include "walproc/walk.h"

#include "stage/log.h"

#include <errno.h>

/* Files that vanish in a row, before that is an error. */
#define TRIES 100
/* Looks at damage that is another each time, before it is true. */
#define DOUBTS 10

static void
stand_before(struct walk *walk, uint64_t seq)
{
	reader_init(&walk->reader, &walk->look->catalog, seq);
	walk->reader.is_looking = true;
}

void
walk_init(
    struct walk *walk, struct look *look, uint64_t first_seq, uint64_t last_seq)
{
	*walk = (struct walk){.look = look, .last_seq = last_seq};
	if (first_seq < look->start_seq)
		first_seq = look->start_seq;
	stand_before(walk, first_seq);
}

void
walk_fini(struct walk *walk)
{
	reader_fini(&walk->reader);
}

int
walk_is_readable(const struct walk *walk, const struct reader_event *damage)
{
	struct segment segment;
	int is_readable;

	if (damage->segment == NULL || damage->from == damage->to)
		return 1;
	/* The reader may have closed it. */
	segment = *damage->segment;
	segment.fd = -1;
	if (segment_reopen(&segment, walk->look->catalog.dir_fd) == -1)
		return -1;
	is_readable = segment_is_readable(&segment, damage->from, damage->to);
	segment_close(&segment);
	return is_readable;
}

/* Takes a new look and stands before `seq`, or what is left behind it. */
static int
look_again_at(struct walk *walk, uint64_t seq)
{
	if (look_again(walk->look) != LOOK_OK)
		return -1;
	if (seq < walk->look->start_seq)
		seq = walk->look->start_seq;
	/* A start may have settled a tail that was not whole. */
	if (walk->last_seq > look_last_seq(walk->look))
		walk->last_seq = look_last_seq(walk->look);
	stand_before(walk, seq);
	return 0;
}

/* What becomes of damage that was met. */
enum verdict {
	VERDICT_TRUE,
	VERDICT_TORN,	/* no damage: the end of the log */
	VERDICT_DOUBT,	/* met again, it is true */
	VERDICT_FAILED, /* errno is set */
};

static enum verdict
judge(struct walk *walk, const struct reader_event *event)
{
	enum verdict verdict = VERDICT_TRUE;

	if (event->seq > walk->look->found.proven_seq) {
		int is_readable = walk_is_readable(walk, event);

		if (is_readable == -1)
			return VERDICT_FAILED;
		if (is_readable == 1)
			verdict = VERDICT_TORN;
	}
	if (event->seq != walk->doubt_seq)
		walk->doubts = 0;
	else if (event->count == walk->doubt_count || walk->doubts > DOUBTS)
		return verdict;
	return look_has_changed(walk->look) ? VERDICT_DOUBT : verdict;
}

/* Handles damage. Returns true with *out set, or false to go on. */
static bool
meet_damage(
    struct walk *walk, const struct reader_event *event, enum walk_status *out)
{
	*out = WALK_DAMAGE;
	switch (judge(walk, event)) {
	case VERDICT_TRUE:
		return true;
	case VERDICT_TORN:
		walk->torn_seq = event->seq;
		walk->last_seq = event->seq - 1;
		*out = WALK_END;
		return true;
	case VERDICT_DOUBT:
		walk->doubt_seq = event->seq;
		walk->doubt_count = event->count;
		walk->doubts++;
		break;
	case VERDICT_FAILED:
		/* Gone meanwhile: the next look tells. */
		if (errno == ENOENT)
			break;
		log_error("log: read: %m");
		*out = WALK_ERROR;
		return true;
	}
	*out = WALK_ERROR;
	return look_again_at(walk, event->seq) == -1;
}

enum walk_status
walk_next(struct walk *walk, struct reader_event *event)
{
	enum walk_status status;

	for (int gone = 0;;) {
		switch (reader_next(&walk->reader, walk->last_seq, event)) {
		case READER_EVENT:
			return WALK_EVENT;
		case READER_NONE:
			return WALK_END;
		case READER_DAMAGE:
			if (meet_damage(walk, event, &status))
				return status;
			break;
		case READER_ERROR:
			if (errno != ENOENT || ++gone > TRIES) {
				log_error("log: read: %m");
				return WALK_ERROR;
			}
			if (look_again_at(walk, walk->reader.next_seq) == -1)
				return WALK_ERROR;
			break;
		}
	}
}

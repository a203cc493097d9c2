#include "wssink/poison.h"

void
poison_init(struct poison *poison)
{
	*poison = (struct poison){0};
}

bool
poison_is_careful(const struct poison *poison)
{
	return poison->careful_until != 0;
}

int64_t
poison_hold_ns(const struct poison *poison)
{
	if (poison->suspect == 0)
		return 0;
	return poison->longest_ns < POISON_HOLD_MAX_NS / 2
		   ? 2 * poison->longest_ns
		   : POISON_HOLD_MAX_NS;
}

void
poison_confirmed(struct poison *poison, uint64_t ended)
{
	poison->row = 0;
	if (ended >= poison->suspect)
		poison->suspect = 0;
	if (ended >= poison->careful_until)
		poison->careful_until = 0;
}

void
poison_renumber(struct poison *poison, uint64_t from, uint64_t to)
{
	poison->suspect = 0;
	poison->careful_until = poison->careful_until > from
				    ? poison->careful_until - from + to
				    : 0;
}

/* How often the suspect must be refused alone. */
static unsigned
needed_alone(const struct poison *poison, enum poison_end end)
{
	unsigned needed = POISON_ENDS + 1;

	if (end == POISON_MESSAGE || poison->row < POISON_ROW)
		return end == POISON_HANG_UP ? POISON_HANG_UPS : 1;
	for (unsigned i = POISON_ROW; i <= poison->row; i++)
		if (needed < POISON_STRIKES_MAX)
			needed *= 2;
	return needed;
}

/* Says whether the suspect is to be refused for a strike alone. */
static bool
is_struck_out(const struct poison *poison, enum poison_end end)
{
	return poison->strikes > POISON_ENDS &&
	       poison->alone >= needed_alone(poison, end);
}

/* Counts, and stops where it is more than enough. */
static void
count(unsigned *n)
{
	if (*n < POISON_STRIKES_MAX)
		++*n;
}

enum poison_verdict
poison_ended(struct poison *poison, uint64_t first, uint64_t last,
    enum poison_end end, int64_t with_ns, bool is_alone)
{
	if (poison->suspect != first) {
		poison->suspect = first;
		poison->ends = 0;
		poison->strikes = 0;
		poison->alone = 0;
		poison->longest_ns = 0;
	} else if (end == POISON_HANG_UP && with_ns > poison->longest_ns) {
		poison->longest_ns = with_ns;
	}
	count(&poison->ends);
	if (end != POISON_OTHER) {
		count(&poison->strikes);
		if (is_alone)
			count(&poison->alone);
	}
	if (end != POISON_OTHER && is_alone && is_struck_out(poison, end)) {
		count(&poison->row);
		poison->suspect = 0;
		if (first >= poison->careful_until)
			poison->careful_until = 0;
		return POISON_REFUSE;
	}
	if (poison->ends < POISON_ENDS || poison_is_careful(poison))
		return POISON_AGAIN;
	poison->careful_until = last;
	return POISON_ISOLATE;
}

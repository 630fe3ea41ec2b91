package main

import (
	"slices"
	"strings"
	"time"
)

// The week before the day, for a server that follows the README. notes/siege.md
// says what it is.

// The days of the week that are played.
var weekDays = []int{0, 6}

// week makes the innocents' ordinary life on these days. It is rolled after the day
// itself, which is the same with it and without.
func (c *cast) week() {
	day := c.deeds
	for range weekDays {
		c.deeds = slices.Clone(c.daily)
		for _, a := range c.actors {
			switch {
			case a.bot, slices.Contains(c.old, a.at[0]): // not there yet
			case a.mail:
				c.mails(a, c.between(0, 23*time.Hour))
			case len(a.at) == 1:
				c.session(a, a.at[0], c.between(7*time.Hour, 20*time.Hour), 0)
			default: // on the road
				at := c.address(roads...)
				c.listed[at] = pbl
				c.session(a, at, c.between(7*time.Hour, 20*time.Hour), 0)
			}
		}
		c.before = append(c.before, c.deeds)
	}
	c.deeds = day
}

// learn plays the week, and then lets the rules refuse.
func (f *field) learn(c *cast) {
	first := f.begin
	f.when = "in the week before: "
	for i, n := range weekDays {
		f.begin, f.now = first.AddDate(0, 0, n), -time.Minute
		f.play(c.before[i])
	}
	f.when = ""
	f.begin = first.AddDate(0, 0, 7)
	f.set(-time.Minute)
	f.users, f.senders = f.standing("user"), f.standing("sender")
	f.Root.Local(firstVisit)
	f.Rebuild()
}

// standing counts the hosts that have earned it.
func (f *field) standing(word string) int {
	out := f.Root.Run("symbiosis-connect-db", "--now", f.begin.Add(f.now).Format(time.RFC3339), "list", "--standing", word, "--format", "csv")
	return strings.Count(out, "\n") - 1
}

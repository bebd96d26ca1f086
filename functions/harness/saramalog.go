package main

import (
	"fmt"
	"log/slog"
	"strings"
)

// saramaLog writes the lines of the Kafka client to the log at level Debug.
type saramaLog struct{ log *slog.Logger }

func (l saramaLog) write(line string) {
	l.log.Debug("kafka client", "line", strings.TrimSpace(line))
}

// Print implements sarama.StdLogger, and so do the two below.
func (l saramaLog) Print(v ...any) { l.write(fmt.Sprint(v...)) }

// Printf writes a formatted line.
func (l saramaLog) Printf(format string, v ...any) { l.write(fmt.Sprintf(format, v...)) }

// Println writes its operands.
func (l saramaLog) Println(v ...any) { l.write(fmt.Sprintln(v...)) }

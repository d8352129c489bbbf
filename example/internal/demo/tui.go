package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// interactive runs the timeline with a live view in the terminal. When one of them ends,
// so does the other.
func interactive(ctx context.Context, t *timeline, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.announce(url)
	program := tea.NewProgram(&liveView{board: t.board}, tea.WithContext(ctx), tea.WithoutSignalHandler())
	done := make(chan error, 1)
	go func() {
		done <- t.run(ctx)
		program.Quit()
	}()
	_, viewErr := program.Run()
	cancel()
	err := <-done
	if err == nil || errors.Is(err, context.Canceled) {
		// If the timeline has not failed by itself, the view may have.
		err = errors.Join(err, viewErr)
	}
	return err
}

// liveView is the model of the terminal program. Its state is the board, so it only
// handles frames, keys and the width of the terminal.
type liveView struct {
	board *board
	width int
}

type frameMsg struct{}

// frameEvery is how often the view is drawn.
const frameEvery = 200 * time.Millisecond

func nextFrame() tea.Cmd {
	return tea.Tick(frameEvery, func(time.Time) tea.Msg { return frameMsg{} })
}

// Init starts the frames.
func (v *liveView) Init() tea.Cmd { return nextFrame() }

// Update handles frames, resizing, and the keys q and Ctrl-C, which quit.
func (v *liveView) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		v.width = msg.Width
	case tea.KeyPressMsg:
		if s := msg.String(); s == "q" || s == "ctrl+c" {
			return v, tea.Quit
		}
	case frameMsg:
		return v, nextFrame()
	}
	return v, nil
}

var (
	bold = lipgloss.NewStyle().Bold(true)
	dim  = lipgloss.NewStyle().Faint(true)
	bars = lipgloss.NewStyle().Foreground(lipgloss.Color("4"))
	good = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	bad  = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
)

// View draws the board.
func (v *liveView) View() tea.View {
	view := tea.NewView(render(v.board.snapshot(), v.width))
	view.AltScreen = true
	return view
}

// Widths of the drawing, in characters.
const (
	defaultWidth = 100
	podColumn    = 34 // everything on a pod's line but its bar
	liveEvents   = 12
)

// render returns the view as text.
func render(s snapshot, width int) string {
	if width <= 0 {
		width = defaultWidth
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s  %s\n\n", bold.Render("evenkeel"), dim.Render(fmt.Sprintf("%.0f s  %s", s.Seconds, s.Phase)))
	for i := range s.Columns {
		out.WriteString(s.Columns[i].render(width))
	}
	for _, e := range s.Events[max(0, len(s.Events)-liveEvents):] {
		out.WriteString(dim.MaxWidth(width).Render(e.String()) + "\n")
	}
	out.WriteString("\n" + dim.Render("press q or Ctrl-C to quit"))
	return out.String()
}

func (c *columnView) render(width int) string {
	var out strings.Builder
	out.WriteString(bold.Render(c.Title) + "   " + c.evenness() + dim.Render(
		fmt.Sprintf("   GOAWAYs %d, connections opened %d, ", c.GoAways, c.Opened)))
	failed := fmt.Sprintf("failed RPCs %d", c.Failures)
	if c.Failures > 0 {
		out.WriteString(bad.Render(failed) + "\n")
	} else {
		out.WriteString(dim.Render(failed) + "\n")
	}
	most := 1
	for _, p := range c.Pods {
		most = max(most, p.PerSecond)
	}
	for _, p := range c.Pods {
		n := p.PerSecond * max(0, width-podColumn) / most
		fmt.Fprintf(&out, "  %-7s %s %4d/s %s\n", p.Name, bars.Render(strings.Repeat("█", n)), p.PerSecond, dim.Render(p.Verdict))
	}
	if c.Why != "" {
		out.WriteString("  " + dim.MaxWidth(width-2).Render(c.Why) + "\n")
	}
	return out.String() + "\n"
}

// evenness returns max/mean, in green if the calls are even.
func (c *columnView) evenness() string {
	switch {
	case c.Even == 0:
		return dim.Render("no calls yet")
	case c.Even <= evenLimit:
		return good.Render(fmt.Sprintf("max/mean %.2f", c.Even))
	}
	return bad.Render(fmt.Sprintf("max/mean %.2f", c.Even))
}

//! Figures as a table for the terminal and as a drawing.

use super::Figure;

/// Lines of a table: figure, measured, asked for, and how they compare.
pub(super) fn table(figures: &[Figure]) -> Vec<String> {
    let width = figures.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
    let row = |figure: &Figure| {
        let target =
            figure.target.map_or_else(String::new, |target| format!("{target:>8}  {}", verdict(figure)));
        format!("{:width$}  {:>10.2} {:8} {target}", figure.name, figure.value, figure.unit)
    };
    let head = format!("{:width$}  {:>10} {:8} {:>8}", "figure", "measured", "", "target");
    std::iter::once(head).chain(figures.iter().map(row)).map(|line| line.trim_end().to_owned()).collect()
}

fn verdict(figure: &Figure) -> String {
    let Some(target) = figure.target else { return String::new() };
    let met = if figure.more_is_better { figure.value >= target } else { figure.value <= target };
    if met { "met".to_owned() } else { format!("{:.1} times", figure.value / target) }
}

/// A drawing with a bar a figure; figures with a target are drawn against it, the line at its place.
pub(super) fn svg(figures: &[Figure]) -> String {
    const ROW: usize = 24;
    const LEFT: f64 = 300.0;
    const TARGET: f64 = 160.0;
    const MOST: f64 = 460.0;
    let height = ROW * (figures.len() + 1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n"
    );
    for (index, figure) in figures.iter().enumerate() {
        let top = index * ROW + 6;
        let text = top + 13;
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 10.0,
            figure.name
        ));
        let mut end = LEFT;
        if let Some(target) = figure.target.filter(|target| *target > 0.0) {
            let length = (figure.value / target * TARGET).clamp(1.0, MOST);
            let met = if figure.more_is_better { figure.value >= target } else { figure.value <= target };
            let colour = if met { "#3a7d44" } else { "#b5542a" };
            end += length;
            svg.push_str(&format!(
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{length:.0}\" height=\"16\" fill=\"{colour}\"/>\n"
            ));
            let at = LEFT + TARGET;
            svg.push_str(&format!(
                "<line x1=\"{at}\" y1=\"{top}\" x2=\"{at}\" y2=\"{}\" stroke=\"black\"/>\n",
                top + 16
            ));
            end = end.max(at);
        }
        let asked = figure.target.map_or_else(String::new, |target| format!(" (asked for: {target})"));
        svg.push_str(&format!(
            "<text x=\"{:.0}\" y=\"{text}\">{:.2} {}{asked}</text>\n",
            end + 8.0,
            figure.value,
            figure.unit
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_bars() {
        let figures = [
            Figure::new("memory", 12.0, "MiB").target(64.0),
            Figure::new("syncs", 6.0, "calls").target(2.0),
            Figure::new("plain", 1.0, "s"),
        ];
        let lines = table(&figures);
        assert_eq!(lines.len(), 4);
        assert!(lines[1].ends_with("met") && lines[2].ends_with("3.0 times"), "{lines:?}");
        assert_eq!(svg(&figures).matches("<rect").count(), 2);
    }
}

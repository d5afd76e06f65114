//! A model's own chat template: a conversation written as the text that it was trained on.
//!
//! Templates are Jinja as Hugging Face's `apply_chat_template` runs it: blocks swallow their line's
//! whitespace, `raise_exception` is there, and Python's string and dictionary methods work. Tools and
//! documents are not offered to templates.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, context};

use crate::{EngineError, Message};

const NAME: &str = "chat_template";

/// A compiled chat template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the texts of those tokens.
    pub(crate) fn new(source: String, bos: String, eos: String) -> Result<Self, EngineError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failed(&error))?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, source).map_err(|error| failed(&error))?;
        Ok(Self { environment, bos, eos })
    }

    /// Writes the conversation up to where the assistant's answer begins.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<String, EngineError> {
        let messages: Vec<Value> =
            messages.iter().map(|Message { role, content }| context! { role, content }).collect();
        let variables = context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        let template = self.environment.get_template(NAME).map_err(|error| failed(&error))?;
        template.render(variables).map_err(|error| failed(&error))
    }
}

fn raise_exception(message: String) -> Result<String, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn failed(error: &minijinja::Error) -> EngineError {
    EngineError::ChatTemplate { detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[(&str, &str)]) -> Result<String, EngineError> {
        let messages: Vec<_> = messages
            .iter()
            .map(|&(role, content)| Message { role: role.into(), content: content.into() })
            .collect();
        ChatTemplate::new(source.into(), "<s>".into(), "</s>".into())?.render(&messages)
    }

    #[test]
    fn blocks_swallow_their_line() {
        let source = "{{ bos_token }}\n  {% for m in messages %}\n{{ m['role'] }}:\
                      {{ m.content }}{{ eos_token }}\n  {% endfor %}\n\
                      {% if add_generation_prompt %}assistant:{% endif %}";
        let text = render(source, &[("user", "Hi"), ("assistant", "Ho")]).unwrap();
        assert_eq!(text, "<s>\nuser:Hi</s>\nassistant:Ho</s>\nassistant:");
    }

    #[test]
    fn content_is_not_escaped() {
        assert_eq!(render("{{ messages[0].content }}", &[("user", "<b>&\"")]).unwrap(), "<b>&\"");
    }

    #[test]
    fn methods_of_python_and_loop_controls_work() {
        let source = "{% for m in messages %}{% if m.role.startswith('s') %}{% continue %}\
                      {% endif %}{{ m['content'].strip().upper() }}{% break %}{% endfor %}";
        assert_eq!(
            render(source, &[("system", "no"), ("user", " yes "), ("user", "no")]).unwrap(),
            "YES"
        );
    }

    #[test]
    fn tojson_writes_json() {
        let text = render("{{ messages[0].content | tojson }}", &[("user", "a\"b")]).unwrap();
        assert_eq!(text, r#""a\"b""#);
    }

    #[test]
    fn the_words_of_raise_exception_reach_the_caller() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert!(error.is_request_error() && error.to_string().contains("roles must alternate"));
    }

    #[test]
    fn a_broken_template_is_an_error() {
        assert!(matches!(render("{% if %}", &[]), Err(EngineError::ChatTemplate { .. })));
    }
}

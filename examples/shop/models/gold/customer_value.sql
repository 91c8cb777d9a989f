-- What each customer has been worth so far.
select
    c.customer_id,
    c.email,
    c.country,
    c.signed_up_at,
    count(o.order_id) as orders,
    coalesce(sum(o.amount_eur), 0) as revenue_eur,
    min(o.ordered_on) as first_order_on,
    max(o.ordered_on) as last_order_on,
    case
        when count(o.order_id) = 0 then 'none'
        when count(o.order_id) = 1 then 'once'
        when count(o.order_id) < 10 then 'regular'
        else 'loyal'
    end as segment
from {{ ref('customers') }} c
left join {{ ref('orders') }} o on o.customer_id = c.customer_id and o.status not in ('cancelled', 'refunded')
group by c.customer_id, c.email, c.country, c.signed_up_at
